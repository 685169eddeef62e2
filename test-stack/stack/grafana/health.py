"""The row about klag-trio itself."""

from __future__ import annotations

from stack.grafana.model import Panel, Query, Row
from stack.grafana.queries import CLUSTER, per_cluster, rates

OURS = "on (job, instance) group_left () klag_build_info"
HEALTH = Row(
    "Exporter health",
    [
        Panel(
            kind="stat",
            title="Exporter up",
            description="1 while any cluster is fresh.",
            unit="none",
            queries=[Query("max(kafka_lag_exporter_up)")],
            width=4,
            height=4,
            bad_below=1,
        ),
        Panel(
            kind="stat",
            title="Leaders",
            description="Replicas that collect; 1 without leader election.",
            unit="none",
            queries=[Query("sum(klag_leader)")],
            width=4,
            height=4,
            bad_below=1,
        ),
        Panel(
            kind="stat",
            title="Versions",
            description="Running versions of klag-trio and how many replicas have them.",
            unit="none",
            queries=[Query("count by (version) (klag_build_info)", "{{version}}")],
            width=4,
            height=4,
        ),
        Panel(
            title="Cluster up",
            description="1 where the last cycle was good.",
            unit="none",
            queries=[Query(per_cluster("klag_cluster_up"), "{{cluster_name}}")],
            width=12,
            height=4,
        ),
        Panel(
            title="Age of what is served",
            description="Time since the offsets were read. A line that ends is a cluster that turned stale.",
            unit="s",
            queries=[
                Query(
                    f"time() - {per_cluster('kafka_lag_exporter_last_update_timestamp_seconds')}",
                    "{{cluster_name}}",
                )
            ],
        ),
        Panel(
            title="Cycle by phase",
            description="Where the time of the last cycle went.",
            unit="s",
            queries=[
                Query(
                    f"max by (cluster_name, phase) (klag_cycle_phase_seconds{{{CLUSTER}}})",
                    "{{cluster_name}} {{phase}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            title="Whole cycle",
            description="Duration of the last cycle, rendering included.",
            unit="s",
            queries=[Query(per_cluster("kafka_lag_exporter_scrape_duration_seconds"), "{{cluster_name}}")],
        ),
        Panel(
            title="Asking for offsets",
            description="Time that asking Kafka for all offsets took in the last cycle.",
            unit="ms",
            queries=[Query(per_cluster("kafka_consumergroup_poll_time_ms"), "{{cluster_name}}")],
        ),
        Panel(
            title="Errors",
            description="Expected errors per second by stage of the cycle and by Kafka's name for them.",
            unit="cps",
            queries=[
                Query(
                    rates("klag_errors_total", "cluster_name, stage, code"),
                    "{{cluster_name}} {{stage}} {{code}}",
                )
            ],
        ),
        Panel(
            title="Cycles that overran, commits beyond the end",
            description="Cycles longer than the poll interval, and rows whose commit lay beyond the end.",
            unit="cps",
            queries=[
                Query(
                    rates("klag_cycles_overrun_total"),
                    "{{cluster_name}} overran",
                ),
                Query(
                    rates("klag_negative_lag_clamped_total"),
                    "{{cluster_name}} beyond the end",
                ),
            ],
        ),
        Panel(
            title="Timestamps read",
            description="Records per second that were read for their timestamps.",
            unit="cps",
            queries=[
                Query(
                    rates("klag_time_lag_reads_total"),
                    "{{cluster_name}}",
                )
            ],
            width=8,
        ),
        Panel(
            title="Bytes read for timestamps",
            description="Size per second of the records that were read for their timestamps.",
            unit="Bps",
            queries=[
                Query(
                    rates("klag_time_lag_read_bytes_total"),
                    "{{cluster_name}}",
                )
            ],
            width=8,
        ),
        Panel(
            title="Timestamps not read",
            description="Partitions whose timestamp was wanted in the last cycle but not read.",
            unit="none",
            queries=[Query(per_cluster("klag_time_lag_unread_partitions"), "{{cluster_name}}")],
            width=8,
            bad_from=1,
        ),
        Panel(
            title="CPU",
            description="CPU seconds per second of each klag-trio.",
            unit="percentunit",
            queries=[Query(f"rate(process_cpu_seconds_total[$__rate_interval]) * {OURS}", "{{instance}}")],
            width=8,
        ),
        Panel(
            title="Resident memory",
            description="Resident memory of each klag-trio.",
            unit="bytes",
            queries=[Query(f"process_resident_memory_bytes * {OURS}", "{{instance}}")],
            width=8,
        ),
        Panel(
            title="OTLP pushes",
            description="Pushes per second by their outcome; empty while exporter.otel is off.",
            unit="cps",
            queries=[
                Query("sum by (outcome) (rate(klag_otlp_exports_total[$__rate_interval]))", "{{outcome}}"),
            ],
            width=8,
        ),
    ],
)
