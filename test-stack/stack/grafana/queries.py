"""The PromQL that panels share.

Every query folds the series of replicas into one with max by (...).
"""

from __future__ import annotations

CLUSTER = 'cluster_name=~"$cluster"'
GROUP = f'{CLUSTER},group=~"$group"'
GROUP_TOPIC = f'{GROUP},topic=~"$topic"'
TOPIC = f'{CLUSTER},topic=~"$topic"'
PARTITION_LEGEND = "{{cluster_name}} {{group}} {{topic}}/{{partition}}"
BY_GROUP = "max by (cluster_name, group)"
BY_GROUP_TOPIC = "max by (cluster_name, group, topic)"
BY_TOPIC_PARTITION = "max by (cluster_name, topic, partition)"
BY_PARTITION = "max by (cluster_name, group, topic, partition)"
STATE = f"{BY_GROUP} (kafka_consumergroup_group_state{{{GROUP}}})"
SUM_LAG = f"{BY_GROUP} (kafka_consumergroup_group_sum_lag{{{GROUP}}})"
MAX_SECONDS = f"{BY_GROUP} (kafka_consumergroup_group_max_lag_seconds{{{GROUP}}})"
TOPIC_LAG = f"{BY_GROUP_TOPIC} (kafka_consumergroup_group_topic_sum_lag{{{GROUP_TOPIC}}})"
PRODUCED = (
    "sum by (cluster_name, topic) "
    f"({BY_TOPIC_PARTITION} (rate(kafka_partition_latest_offset{{{TOPIC}}}[$__rate_interval])))"
)
DELETED = PRODUCED.replace("latest", "earliest")
GROWTH = (
    f"{BY_GROUP_TOPIC} (deriv(kafka_consumergroup_group_topic_sum_lag{{{GROUP_TOPIC}}}[$__rate_interval]))"
)
CONSUMED = (
    "sum by (cluster_name, group, topic) "
    f"({BY_PARTITION} (rate(kafka_consumergroup_group_offset{{{GROUP_TOPIC}}}[$__rate_interval])))"
    f" or clamp_min(-{GROWTH} + on (cluster_name, topic) group_left () {PRODUCED}, 0)"
)
RETAINED = (
    "sum by (cluster_name, topic) ("
    f"{BY_TOPIC_PARTITION} (kafka_partition_latest_offset{{{TOPIC}}}) - "
    f"{BY_TOPIC_PARTITION} (kafka_partition_earliest_offset{{{TOPIC}}}))"
)


def per_cluster(metric: str) -> str:
    return f"max by (cluster_name) ({metric}{{{CLUSTER}}})"


def by_partition(metric: str) -> str:
    return f"{BY_PARTITION} ({metric}{{{GROUP_TOPIC}}})"


def rates(counter: str, by: str = "cluster_name") -> str:
    return f"sum by ({by}) (rate({counter}{{{CLUSTER}}}[$__rate_interval]))"
