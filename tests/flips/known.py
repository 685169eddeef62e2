"""How a lying broker can end klag-trio, by signature, each with what is behind it.

What a client can store has no exception, and neither has what runs in a process of its own: listing groups,
describing those of the newer protocol, reading records.
"""

from __future__ import annotations

import re

KNOWN = {
    r"SIGABRT \(rd_kafka_admin_worker: rko->rko_u\.admin_request\.broker_id >= 0\) in .*": (
        "FindCoordinator: the coordinator has a negative number."
    ),
    r"SIGSEGV in cfl_PyDict_SetString < Admin_c_ConfigEntries_to_py < .*": (
        "DescribeConfigs: a value is no UTF-8, in confluent_kafka."
    ),
    r"SIGSEGV in rd_kafka_metadata_(broker|partition)_\w*cmp < .*": (
        "Metadata: null for the brokers of a cluster, or for the partitions of a topic."
    ),
    r"SIGSEGV in rd_kafka_topic_partition_list_get_leaders < .*": (
        "Metadata: the partitions of a topic are not numbered from 0 on."
    ),
    r"SIGABRT \(rd_calloc: p\) in rd_kafka_DescribeTopicsResponse_parse < .*": (
        "Metadata: the partitions of a topic are not numbered from 0 on."
    ),
    r"SIGSEGV in rd_kafka_log0 < rd_kafka_DescribeTopicsResponse_parse < .*": (
        "Metadata: a topic that was not asked about; its name is told after it was freed."
    ),
    r"SIGABRT \(rd_kafka_admin_response_parse: rko_result\) in .*": (
        "Metadata: an error of the whole answer, where topics are described by DescribeTopics."
    ),
    r"SIGSEGV in rd_kafka_ListOffsets_handle_result < .*": (
        "ListOffsets: fewer partitions than were asked about."
    ),
    r"SIGABRT \(rd_malloc: p\) in rd_kafka_handle_ApiVersion < .*": "ApiVersions: null for the versions.",
}


def why(signature: str) -> str | None:
    """What is behind it; None for one that is not known."""
    return next((reason for pattern, reason in KNOWN.items() if re.fullmatch(pattern, signature)), None)
