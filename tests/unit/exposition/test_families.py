"""The names, types and labels that users' dashboards and rules rely on, written out."""

from __future__ import annotations

import pytest

from klag_trio.exposition.families import FAMILIES, Family

P = "cluster_name topic partition"
G = "cluster_name group"
M = "cluster_name group topic partition member_host consumer_id client_id"

TABLE = f"""
kafka_partition_latest_offset                     gauge    {P}
kafka_partition_earliest_offset                   gauge    {P}
kafka_consumergroup_group_offset                  gauge    {M}
kafka_consumergroup_group_lag                     gauge    {M}
kafka_consumergroup_group_lag_seconds             gauge    {M} compaction_detected data_loss_detected
kafka_consumergroup_group_messages_lost           gauge    {M}
kafka_consumergroup_group_retention_margin        gauge    {M}
kafka_consumergroup_group_lag_retention_ratio     gauge    {M}
kafka_consumergroup_group_max_lag                 gauge    {G}
kafka_consumergroup_group_max_lag_seconds         gauge    {G}
kafka_consumergroup_group_sum_lag                 gauge    {G}
kafka_consumergroup_group_topic_sum_lag           gauge    {G} topic
kafka_consumergroup_group_state                   gauge    {G}
kafka_consumergroup_poll_time_ms                  gauge    cluster_name
kafka_lag_exporter_scrape_duration_seconds        gauge    cluster_name
kafka_lag_exporter_last_update_timestamp_seconds  gauge    cluster_name
kafka_lag_exporter_compaction_detected_total      gauge    cluster_name
kafka_lag_exporter_data_loss_partitions_total     gauge    cluster_name
kafka_lag_exporter_up                             gauge
klag_cluster_up                                   gauge    cluster_name
klag_leader                                       gauge
klag_cycle_phase_seconds                          gauge    cluster_name phase
klag_cycles_overrun_total                         counter  cluster_name
klag_errors_total                                 counter  cluster_name stage code
klag_time_lag_reads_total                         counter  cluster_name
klag_time_lag_read_bytes_total                    counter  cluster_name
klag_time_lag_unread_partitions                   gauge    cluster_name
klag_negative_lag_clamped_total                   counter  cluster_name
klag_label_values_cut_total                       counter
klag_log_lines_dropped_total                      counter
klag_otlp_exports_total                           counter  outcome
klag_web_config_reloads_total                     counter  outcome
klag_build_info                                   gauge    version
"""

LABELS: dict[str, frozenset[str]] = {}
TYPES: dict[str, str] = {}
for _line in TABLE.strip().splitlines():
    _name, _type, *_labels = _line.split()
    LABELS[_name], TYPES[_name] = frozenset(_labels), _type


def test_the_families_are_those_of_the_table() -> None:
    assert LABELS == {family.name: frozenset(family.labels) for family in FAMILIES}
    assert TYPES == {family.name: family.type for family in FAMILIES}


def test_no_family_is_there_twice() -> None:
    assert len(FAMILIES) == len({family.name for family in FAMILIES})


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_help_is_a_sentence_that_no_format_has_to_escape(family: Family) -> None:
    assert family.help.endswith(".")
    assert not set('\\"\n') & set(family.help)


@pytest.mark.parametrize(
    "family", [family for family in FAMILIES if family.type == "counter"], ids=lambda family: family.name
)
def test_the_samples_of_a_counter_end_in_total(family: Family) -> None:
    assert family.name.endswith("_total")
