"""Rows about data loss and throughput."""

from __future__ import annotations

from stack.grafana.model import Panel, Query, Row
from stack.grafana.queries import (
    CONSUMED,
    DELETED,
    GROWTH,
    PARTITION_LEGEND,
    PRODUCED,
    RETAINED,
    TOPIC_LAG,
    by_partition,
    per_cluster,
)

DATA_LOSS = Row(
    "Data-loss prevention",
    [
        Panel(
            title="Lag in percent of what the topic retains",
            description="At 100% retention is about to delete what the group has not read. "
            "One partition can be worse than its topic.",
            unit="percent",
            queries=[
                Query(
                    f"topk(10, 100 * {TOPIC_LAG} / on (cluster_name, topic) group_left () ({RETAINED} > 0))",
                    "{{cluster_name}} {{group}} {{topic}}",
                )
            ],
            bad_from=80,
        ),
        Panel(
            title="Lag in percent of what the partition retains",
            description="The ten worst. Above 100% records were lost.",
            unit="percent",
            queries=[
                Query(
                    f"topk(10, {by_partition('kafka_consumergroup_group_lag_retention_ratio')})",
                    PARTITION_LEGEND,
                )
            ],
            by_partition=True,
            bad_from=80,
        ),
        Panel(
            title="Retention margin",
            description="Offsets between the beginning of the partition and the committed offset, "
            "the ten smallest. Negative once records were lost.",
            unit="short",
            queries=[
                Query(
                    f"bottomk(10, {by_partition('kafka_consumergroup_group_retention_margin')})",
                    PARTITION_LEGEND,
                )
            ],
            by_partition=True,
        ),
        Panel(
            title="Records lost",
            description="Offsets deleted before the group came to them; back to 0 when it has moved on.",
            unit="short",
            queries=[
                Query(
                    f"topk(10, {by_partition('kafka_consumergroup_group_messages_lost')})",
                    PARTITION_LEGEND,
                )
            ],
            by_partition=True,
            bad_from=1,
        ),
        Panel(
            title="Partitions with data loss by cluster",
            description="Partitions in which a group lost records to retention, in each cycle.",
            unit="none",
            queries=[Query(per_cluster("kafka_lag_exporter_data_loss_partitions_total"), "{{cluster_name}}")],
            bad_from=1,
        ),
        Panel(
            title="Partitions with compaction by cluster",
            description="Partitions in which compaction removed a group's next record.",
            unit="none",
            queries=[Query(per_cluster("kafka_lag_exporter_compaction_detected_total"), "{{cluster_name}}")],
        ),
    ],
)
THROUGHPUT = Row(
    "Throughput",
    [
        Panel(
            title="Produced",
            description="Records per second written to each topic, transaction markers among them.",
            unit="cps",
            queries=[Query(PRODUCED, "{{cluster_name}} {{topic}}")],
        ),
        Panel(
            title="Consumed",
            description="Records per second that each group gets through: what its commits say where those "
            "are served, else what was produced less the growth of the lag.",
            unit="cps",
            queries=[
                Query(
                    CONSUMED,
                    "{{cluster_name}} {{group}} {{topic}}",
                )
            ],
        ),
        Panel(
            title="Change of lag",
            description="Records per second by which the lag grows; below 0 the group catches up.",
            unit="cps",
            queries=[
                Query(
                    GROWTH,
                    "{{cluster_name}} {{group}} {{topic}}",
                )
            ],
        ),
        Panel(
            title="Deleted",
            description="Offsets per second that are removed from the beginning, mostly by retention.",
            unit="cps",
            queries=[
                Query(
                    DELETED,
                    "{{cluster_name}} {{topic}}",
                )
            ],
        ),
    ],
)
