"""`python test-stack/grafana/dashboard.py` writes provisioning/dashboards/kafka-lag.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# Run as a script, Python puts this folder itself on the path; the package is one above.
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from grafana import groups, health, loss
from grafana.model import DATASOURCE, dashboard
from grafana.queries import CLUSTER

TARGET = Path(__file__).resolve().parent / "provisioning" / "dashboards" / "kafka-lag.json"
ROWS = [
    groups.OVERVIEW,
    groups.GROUPS,
    groups.GROUP_DETAIL,
    groups.PARTITIONS,
    loss.DATA_LOSS,
    loss.THROUGHPUT,
    health.HEALTH,
]


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"{name}-values"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # Shorter than all names, and right for those that come later.
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
    }


VARIABLES = [
    {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
        "current": {},
        "options": [],
    },
    _variable("cluster", "Cluster", "label_values(klag_cluster_up, cluster_name)"),
    _variable("group", "Group", f"label_values(kafka_consumergroup_group_state{{{CLUSTER}}}, group)"),
    _variable("topic", "Topic", f"label_values(kafka_partition_latest_offset{{{CLUSTER}}}, topic)"),
]


def text() -> str:
    """The dashboard as JSON."""
    made = dashboard(
        ROWS,
        VARIABLES,
        uid="klag-trio",
        title="Kafka consumer lag",
        description="Consumer groups, their lag and time lag, data loss, and klag-trio itself.",
        tags=["kafka", "klag-trio"],
        timezone="browser",
        refresh="30s",
        time={"from": "now-1h", "to": "now"},
    )
    return json.dumps(made, indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
