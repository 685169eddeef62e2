"""The one table of metrics: name, type, unit, help and labels of each family, in serving order."""

from __future__ import annotations

from typing import Literal

import attrs

Type = Literal["gauge", "counter"]

CLUSTER = ("cluster_name",)
P = ("cluster_name", "topic", "partition")
G = ("cluster_name", "group")
M = ("cluster_name", "group", "topic", "partition", "member_host", "consumer_id", "client_id")
FLAGS = ("compaction_detected", "data_loss_detected")


@attrs.frozen
class Family:
    """One metric family.

    `name` is the name of its samples, so a counter's ends in `_total`; `unit` is a UCUM unit as
    OpenTelemetry writes it, "" where the value has none.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    type: Type = "gauge"
    unit: str = ""

    @property
    def integral(self) -> bool:
        """Whether it counts something; what has any other unit is measured, and never an integer in OTLP."""
        return self.unit in {"", "By"}


# Inherited names; all gauges, since klag-exporter's are.
PARTITION_LATEST_OFFSET = Family("kafka_partition_latest_offset", "High watermark of the partition.", P)
PARTITION_EARLIEST_OFFSET = Family("kafka_partition_earliest_offset", "Low watermark of the partition.", P)
GROUP_OFFSET = Family("kafka_consumergroup_group_offset", "Committed offset of the group.", M)
GROUP_LAG = Family(
    "kafka_consumergroup_group_lag", "Records between the committed offset and the high watermark.", M
)
GROUP_LAG_SECONDS = Family(
    "kafka_consumergroup_group_lag_seconds",
    "Age of the first record at or after the committed offset.",
    (*M, *FLAGS),
    unit="s",
)
GROUP_MESSAGES_LOST = Family(
    "kafka_consumergroup_group_messages_lost", "Offsets deleted before the group came to them.", M
)
GROUP_RETENTION_MARGIN = Family(
    "kafka_consumergroup_group_retention_margin",
    "Offsets between the committed offset and the low watermark; negative once records were lost.",
    M,
)
GROUP_LAG_RETENTION_RATIO = Family(
    "kafka_consumergroup_group_lag_retention_ratio",
    "Lag in percent of what the partition retains; above 100 once records were lost.",
    M,
    unit="%",
)
GROUP_MAX_LAG = Family("kafka_consumergroup_group_max_lag", "Longest lag of the group in any partition.", G)
GROUP_MAX_LAG_SECONDS = Family(
    "kafka_consumergroup_group_max_lag_seconds",
    "Longest known time lag of the group in any partition.",
    G,
    unit="s",
)
GROUP_SUM_LAG = Family("kafka_consumergroup_group_sum_lag", "Lag of the group over all its partitions.", G)
GROUP_TOPIC_SUM_LAG = Family(
    "kafka_consumergroup_group_topic_sum_lag",
    "Lag of the group over all its partitions of the topic.",
    (*G, "topic"),
)
GROUP_STATE = Family(
    "kafka_consumergroup_group_state",
    "State of the group: 0 Unknown, 1 PreparingRebalance, 2 CompletingRebalance, 3 Stable, 4 Dead, 5 Empty, "
    "6 Assigning, 7 Reconciling.",
    G,
)
POLL_TIME = Family(
    "kafka_consumergroup_poll_time_ms", "Time that asking Kafka for all offsets took.", CLUSTER, unit="ms"
)
SCRAPE_DURATION = Family(
    "kafka_lag_exporter_scrape_duration_seconds",
    "Duration of the whole last cycle, rendering included.",
    CLUSTER,
    unit="s",
)
LAST_UPDATE = Family(
    "kafka_lag_exporter_last_update_timestamp_seconds", "Instant of the last good cycle.", CLUSTER, unit="s"
)
COMPACTION_DETECTED = Family(
    "kafka_lag_exporter_compaction_detected_total",
    "Partitions in which compaction removed a group's next record, in the last cycle.",
    CLUSTER,
)
DATA_LOSS_PARTITIONS = Family(
    "kafka_lag_exporter_data_loss_partitions_total",
    "Partitions in which a group lost records to retention, in the last cycle.",
    CLUSTER,
)
UP = Family("kafka_lag_exporter_up", "Whether any cluster has fresh metrics.")

# Our own.
CLUSTER_UP = Family(
    "klag_cluster_up", "Whether the last cycle of the cluster was good and its metrics are fresh.", CLUSTER
)
LEADER = Family("klag_leader", "Whether this process is the one that collects.")
CYCLE_PHASE = Family(
    "klag_cycle_phase_seconds", "Duration of each phase of the last cycle.", (*CLUSTER, "phase"), unit="s"
)
CYCLES_OVERRUN = Family(
    "klag_cycles_overrun_total", "Cycles that outlasted the poll interval.", CLUSTER, "counter"
)
ERRORS = Family(
    "klag_errors_total",
    "Expected errors by the stage of the cycle and by Kafka's name for them.",
    (*CLUSTER, "stage", "code"),
    "counter",
)
TIME_LAG_READS = Family("klag_time_lag_reads_total", "Records read for their timestamps.", CLUSTER, "counter")
TIME_LAG_READ_BYTES = Family(
    "klag_time_lag_read_bytes_total",
    "Bytes of the keys and values of the records read for their timestamps.",
    CLUSTER,
    "counter",
    "By",
)
TIME_LAG_UNREAD = Family(
    "klag_time_lag_unread_partitions",
    "Partitions whose timestamp was wanted in the last cycle but not read.",
    CLUSTER,
)
NEGATIVE_LAG_CLAMPED = Family(
    "klag_negative_lag_clamped_total",
    "Rows whose committed offset lay beyond the end and whose lag was set to 0.",
    CLUSTER,
    "counter",
)
LABEL_VALUES_CUT = Family(
    "klag_label_values_cut_total",
    "Label values from Kafka that were cut to 512 bytes, each counted once in every cycle of its cluster.",
    type="counter",
)
LOG_LINES_DROPPED = Family(
    "klag_log_lines_dropped_total",
    "Log lines that were lost: there was no room to keep them, or they could not be written.",
    type="counter",
)
OTLP_EXPORTS = Family("klag_otlp_exports_total", "OTLP exports by their outcome.", ("outcome",), "counter")
WEB_CONFIG_RELOADS = Family(
    "klag_web_config_reloads_total",
    "Changes of the web config file or its certificates by what became of them.",
    ("outcome",),
    "counter",
)
BUILD_INFO = Family("klag_build_info", "The running version.", ("version",))

LAG_FAMILIES: tuple[Family, ...] = (
    PARTITION_LATEST_OFFSET,
    PARTITION_EARLIEST_OFFSET,
    GROUP_OFFSET,
    GROUP_LAG,
    GROUP_LAG_SECONDS,
    GROUP_MESSAGES_LOST,
    GROUP_RETENTION_MARGIN,
    GROUP_LAG_RETENTION_RATIO,
    GROUP_MAX_LAG,
    GROUP_MAX_LAG_SECONDS,
    GROUP_SUM_LAG,
    GROUP_TOPIC_SUM_LAG,
    GROUP_STATE,
)
"""What a report becomes: nearly all of the bytes, and gauges only."""

STATUS_FAMILIES: tuple[Family, ...] = (
    POLL_TIME,
    SCRAPE_DURATION,
    LAST_UPDATE,
    COMPACTION_DETECTED,
    DATA_LOSS_PARTITIONS,
    UP,
    CLUSTER_UP,
    LEADER,
    CYCLE_PHASE,
    CYCLES_OVERRUN,
    ERRORS,
    TIME_LAG_READS,
    TIME_LAG_READ_BYTES,
    TIME_LAG_UNREAD,
    NEGATIVE_LAG_CLAMPED,
    LABEL_VALUES_CUT,
    LOG_LINES_DROPPED,
    OTLP_EXPORTS,
    WEB_CONFIG_RELOADS,
    BUILD_INFO,
)
"""What is said about the clusters and the process besides."""

FAMILIES = (*LAG_FAMILIES, *STATUS_FAMILIES)
