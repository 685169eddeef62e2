"""Rows about consumer groups and their partitions."""

from __future__ import annotations

from stack.grafana.model import STATES, Panel, Query, Row
from stack.grafana.queries import (
    BY_GROUP,
    GROUP,
    GROUP_TOPIC,
    MAX_SECONDS,
    PARTITION_LEGEND,
    STATE,
    SUM_LAG,
    TOPIC_LAG,
    by_partition,
    per_cluster,
)

OVERVIEW = Row(
    "Overview",
    [
        Panel(
            kind="stat",
            title="Clusters up",
            description="Clusters whose last cycle was good.",
            unit="none",
            queries=[Query(f"sum({per_cluster('klag_cluster_up')})")],
            width=4,
            height=4,
            bad_below=1,
        ),
        Panel(
            kind="stat",
            title="Groups",
            description="Consumer groups that are watched.",
            unit="none",
            queries=[Query(f"count({STATE})")],
            width=4,
            height=4,
        ),
        Panel(
            kind="stat",
            title="Lag",
            description="Records between committed offset and end, over all partitions of all groups.",
            unit="short",
            queries=[Query(f"sum({SUM_LAG})")],
            width=4,
            height=4,
        ),
        Panel(
            kind="stat",
            title="Longest time lag",
            description="Age of the oldest record that some group has to read next.",
            unit="s",
            queries=[Query(f"max({MAX_SECONDS})")],
            width=4,
            height=4,
            bad_from=300,
        ),
        Panel(
            kind="stat",
            title="Groups without members that lag",
            description="Empty groups for which records wait.",
            unit="none",
            queries=[Query(f"sum(({SUM_LAG} > bool 0) * ({STATE} == bool 5))")],
            width=4,
            height=4,
            bad_from=1,
        ),
        Panel(
            kind="stat",
            title="Partitions with data loss",
            description="Partitions in which a group lost records to retention, in the last cycle.",
            unit="none",
            queries=[Query(f"sum({per_cluster('kafka_lag_exporter_data_loss_partitions_total')})")],
            width=4,
            height=4,
            bad_from=1,
        ),
        Panel(
            title="Lag by cluster",
            description="Sum of the lag of all groups.",
            unit="short",
            queries=[Query(f"sum by (cluster_name) ({SUM_LAG})", "{{cluster_name}}")],
        ),
        Panel(
            title="Longest time lag by cluster",
            description="The oldest next record of any group. A gap where no time lag is known.",
            unit="s",
            queries=[Query(f"max by (cluster_name) ({MAX_SECONDS})", "{{cluster_name}}")],
        ),
    ],
)
GROUPS = Row(
    "All consumer groups",
    [
        Panel(
            kind="table",
            title="All groups",
            description="State, lag and longest time lag of every group now.",
            unit="short",
            queries=[
                Query(STATE, column="state"),
                Query(SUM_LAG, column="lag"),
                Query(
                    f"{BY_GROUP} (kafka_consumergroup_group_max_lag{{{GROUP}}})",
                    column="lag of worst partition",
                ),
                Query(MAX_SECONDS, column="time lag"),
            ],
            height=10,
        ),
        Panel(
            title="Groups by state",
            description="How many groups are in each state. KIP-848 groups that rebalance show as Unknown.",
            unit="none",
            queries=[Query(f"sum({STATE} == bool {number})", name) for number, (name, _) in STATES.items()],
            height=10,
            stacked=True,
        ),
        Panel(
            title="Groups with the most lag",
            description="The ten groups with the highest sum of lag.",
            unit="short",
            queries=[Query(f"topk(10, {SUM_LAG})", "{{cluster_name}} {{group}}")],
        ),
        Panel(
            title="Groups with the longest time lag",
            description="The ten groups whose next record is oldest.",
            unit="s",
            queries=[Query(f"topk(10, {MAX_SECONDS})", "{{cluster_name}} {{group}}")],
            bad_from=300,
        ),
    ],
)
GROUP_DETAIL = Row(
    "Group detail: choose groups above",
    [
        Panel(
            title="Lag by topic",
            description="Lag of each group over all its partitions of a topic.",
            unit="short",
            queries=[Query(TOPIC_LAG, "{{cluster_name}} {{group}} {{topic}}")],
        ),
        Panel(
            title="Time lag by group",
            description="Age of the oldest record that the group has to read next.",
            unit="s",
            queries=[Query(MAX_SECONDS, "{{cluster_name}} {{group}}")],
        ),
        Panel(
            kind="state-timeline",
            title="State",
            description="State of each group over time.",
            unit="none",
            queries=[Query(STATE, "{{cluster_name}} {{group}}")],
            states=True,
        ),
        Panel(
            title="Members with partitions",
            description="Members of each group that own a partition.",
            unit="none",
            queries=[
                Query(
                    "count by (cluster_name, group) (count by (cluster_name, group, consumer_id) "
                    f'(kafka_consumergroup_group_lag{{{GROUP},consumer_id!=""}}))',
                    "{{cluster_name}} {{group}}",
                )
            ],
            by_partition=True,
        ),
    ],
)
PARTITIONS = Row(
    'Partitions (granularity = "partition")',
    [
        Panel(
            title="Lag by partition",
            description="Records between the committed offset and the end of each partition.",
            unit="short",
            queries=[
                Query(
                    by_partition("kafka_consumergroup_group_lag"),
                    PARTITION_LEGEND,
                )
            ],
            by_partition=True,
        ),
        Panel(
            title="Time lag by partition",
            description="Age of the next record in each partition. No line where it is not known.",
            unit="s",
            queries=[
                Query(
                    by_partition("kafka_consumergroup_group_lag_seconds"),
                    PARTITION_LEGEND,
                )
            ],
            by_partition=True,
        ),
        Panel(
            kind="table",
            title="Owners",
            description="Which member owns which partition now, where it stands and how far it is behind.",
            unit="none",
            queries=[
                Query(
                    "max by (cluster_name, group, topic, partition, member_host, client_id) "
                    f"(kafka_consumergroup_group_offset{{{GROUP_TOPIC}}})",
                    column="committed offset",
                ),
                Query(
                    "max by (cluster_name, group, topic, partition, member_host, client_id) "
                    f"(kafka_consumergroup_group_lag{{{GROUP_TOPIC}}})",
                    column="lag",
                ),
                Query(
                    "max by (cluster_name, group, topic, partition, member_host, client_id) "
                    f"(kafka_consumergroup_group_lag_seconds{{{GROUP_TOPIC}}})",
                    column="time lag",
                ),
            ],
            width=24,
            height=10,
            by_partition=True,
        ),
    ],
)
