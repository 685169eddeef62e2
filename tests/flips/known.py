"""In which answers a lying broker can end klag-trio, by what the signature of such an end has in it.

What a client can store has no exception, and neither has what runs in a process of its own: listing groups,
describing those of the newer protocol, reading records. docs/reliability.md has the same list.
"""

from __future__ import annotations

import re

KNOWN = {
    "ApiVersions": r"ApiVersion",
    # Of DescribeTopics too, and where librdkafka looks for the leaders of partitions.
    "Metadata": r"rd_kafka_metadata_|_Metadata|DescribeTopics|_get_leaders|: rko_result\)",
    "ListGroups and DescribeGroups": r"rd_kafka_(List|Describe)Groups_resp_cb",
    "FindCoordinator": r"FindCoordinator|\.broker_id >= 0\)",
    "ListOffsets": r"ListOffsets",
    "DescribeConfigs": r"DescribeConfigs|Admin_c_Config",
}


def why(signature: str) -> str | None:
    """The answer that is behind it; None for one that is not known."""
    return next((answer for answer, part in KNOWN.items() if re.search(part, signature)), None)
