"""`python test-stack grafana` writes test-stack/grafana/provisioning/dashboards/kafka-lag.json."""

from __future__ import annotations

import json
from typing import Any

from stack import TEST_STACK
from stack.grafana import groups, health, loss
from stack.grafana.model import DATASOURCE, dashboard
from stack.grafana.queries import CLUSTER

TARGET = TEST_STACK / "grafana" / "provisioning" / "dashboards" / "kafka-lag.json"
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
