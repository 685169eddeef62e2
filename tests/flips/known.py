"""Which answer of a lying broker ended klag-trio, by what the signature of such an end has in it.

These are all that the main process asks for; docs/reliability.md has the same list.
"""

from __future__ import annotations

import re

ANSWERS = {
    "ApiVersions": r"ApiVersion",
    # Of DescribeTopics too, and where librdkafka looks for the leaders of partitions.
    "Metadata": r"_[mM]etadata|DescribeTopics|_get_leaders|: rko_result\)",
    "ListGroups or DescribeGroups": r"rd_kafka_(List|Describe)Groups|rd_kafka_list_groups",
    "FindCoordinator": r"FindCoordinator|\.broker_id >= 0\)",
    "OffsetFetch": r"OffsetFetch|ListConsumerGroupOffsets",
    "ListOffsets": r"ListOffsets",
    "DescribeConfigs": r"DescribeConfigs|Admin_c_Config",
}


def why(signature: str) -> str | None:
    """The answer that is behind it; None where that cannot be told."""
    return next((answer for answer, part in ANSWERS.items() if re.search(part, signature)), None)
