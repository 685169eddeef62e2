"""What a report and a status become, series by series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from tests.unit.exposition import fixed

from klag_trio.domain.lag import EMPTY_REPORT
from klag_trio.exposition import samples
from klag_trio.exposition.families import LAG_FAMILIES, STATUS_FAMILIES
from klag_trio.exposition.samples import Block

Series = Mapping[str, Mapping[tuple[str, ...], int | float]]


def series(blocks: Iterable[Block]) -> Series:
    """For each name the values by the labels that tell its series apart, without the absent ones."""
    found: dict[str, dict[tuple[str, ...], int | float]] = {}
    for block in blocks:
        for family, values in block.columns.items():
            assert family.labels == block.label_names
            for row, value in zip(block.rows, values, strict=True):
                if value is not None:
                    assert row not in found.setdefault(family.name, {})
                    found[family.name][row] = value
    return found


@pytest.fixture
def alpha() -> Series:
    return series(fixed.lag_blocks("alpha", fixed.alpha()))


CHANGES = ("alpha", "billing", "changes", "0", "/10.0.0.1", "billing-1-6f1c", "billing-1")
ORDERS_0 = ("alpha", "billing", "orders", "0", "/10.0.0.1", "billing-1-6f1c", "billing-1")
ORDERS_1 = ("alpha", "billing", "orders", "1", "", "", "")
ORDERS_2 = ("alpha", "billing", "orders", "2", "", "", "")
AUDIT = ("alpha", "audit", "orders", "0", "", "", "")


def test_watermarks_are_there_for_every_partition(alpha: Series) -> None:
    assert {
        ("alpha", "changes", "0"): 40,
        ("alpha", "orders", "0"): 110,
        ("alpha", "orders", "1"): 900,
        ("alpha", "orders", "2"): 9007199256740993,
    } == alpha["kafka_partition_latest_offset"]
    assert {
        ("alpha", "changes", "0"): 0,
        ("alpha", "orders", "0"): 10,
        ("alpha", "orders", "1"): 500,
        ("alpha", "orders", "2"): 9007199254740993,
    } == alpha["kafka_partition_earliest_offset"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("offset", (4, 100, 400, 9007199255740993, 115)),
        ("lag", (36, 10, 500, 1_000_000, 0)),
        ("messages_lost", (0, 0, 100, 0, 0)),
        ("retention_margin", (4, 90, -100, 1_000_000, 105)),
        ("lag_retention_ratio", (90.0, 10.0, 125.0, 50.0, 0.0)),
    ],
)
def test_every_commit_has_its_five_series(alpha: Series, name: str, values: tuple[int | float, ...]) -> None:
    rows = (CHANGES, ORDERS_0, ORDERS_1, ORDERS_2, AUDIT)
    assert dict(zip(rows, values, strict=True)) == alpha[f"kafka_consumergroup_group_{name}"]


def test_time_lag_is_there_where_it_is_known_and_says_what_was_detected(alpha: Series) -> None:
    assert {
        (*CHANGES, "true", "false"): 3.5,
        (*ORDERS_0, "false", "false"): 12.25,
        (*ORDERS_1, "false", "true"): 86_400.0,
        (*AUDIT, "false", "false"): 0.0,
    } == alpha["kafka_consumergroup_group_lag_seconds"]


def test_aggregates_are_there_for_groups_that_committed(alpha: Series) -> None:
    audit, billing = ("alpha", "audit"), ("alpha", "billing")
    assert {audit: 0, billing: 1_000_000} == alpha["kafka_consumergroup_group_max_lag"]
    assert {audit: 0, billing: 1_000_546} == alpha["kafka_consumergroup_group_sum_lag"]
    assert {audit: 0.0, billing: 86_400.0} == alpha["kafka_consumergroup_group_max_lag_seconds"]
    assert {(*audit, "orders"): 0, (*billing, "changes"): 36, (*billing, "orders"): 1_000_510} == alpha[
        "kafka_consumergroup_group_topic_sum_lag"
    ]


def test_every_group_has_a_state(alpha: Series) -> None:
    assert {("alpha", "audit"): 5, ("alpha", "billing"): 3, ("alpha", "newcomer"): 1} == alpha[
        "kafka_consumergroup_group_state"
    ]


def test_the_longest_time_lag_is_absent_where_none_is_known() -> None:
    found = series(fixed.lag_blocks("beta", fixed.beta()))
    assert "kafka_consumergroup_group_max_lag_seconds" not in found
    assert "kafka_consumergroup_group_lag_seconds" not in found
    assert {("beta", "billing"): 2} == found["kafka_consumergroup_group_max_lag"]


def test_without_time_lag_only_its_two_families_are_missing() -> None:
    found = samples.lag_blocks("alpha", {}, fixed.alpha(), partition_series=True, time_lag=False)
    assert {family.name for family in LAG_FAMILIES} - {
        "kafka_consumergroup_group_lag_seconds",
        "kafka_consumergroup_group_max_lag_seconds",
    } == series(found.blocks).keys()


def test_by_topic_there_are_aggregates_and_watermarks_with_the_same_values(alpha: Series) -> None:
    blocks = samples.lag_blocks("alpha", {}, fixed.alpha(), partition_series=False, time_lag=True).blocks
    found = series(blocks)
    assert {
        "kafka_partition_latest_offset",
        "kafka_partition_earliest_offset",
        "kafka_consumergroup_group_max_lag",
        "kafka_consumergroup_group_max_lag_seconds",
        "kafka_consumergroup_group_sum_lag",
        "kafka_consumergroup_group_topic_sum_lag",
        "kafka_consumergroup_group_state",
    } == found.keys()
    assert {name: alpha[name] for name in found} == found


def test_an_empty_report_has_no_series() -> None:
    assert {} == series(fixed.lag_blocks("alpha", EMPTY_REPORT))


def test_every_block_carries_the_clusters_constant_labels() -> None:
    blocks = [
        *fixed.lag_blocks("beta", fixed.beta()),
        *samples.cluster_blocks(fixed.status("beta", fixed.beta())),
    ]
    assert all(fixed.LABELS["beta"] == block.constant for block in blocks)


def test_a_fresh_cluster_says_how_its_last_cycle_went() -> None:
    found = series(samples.cluster_blocks(fixed.status("alpha", fixed.alpha())))
    key = ("alpha",)
    assert {
        "kafka_consumergroup_poll_time_ms": {key: 500.0},
        "kafka_lag_exporter_scrape_duration_seconds": {key: 0.75},
        "kafka_lag_exporter_last_update_timestamp_seconds": {key: fixed.NOW},
        "kafka_lag_exporter_compaction_detected_total": {key: 1},
        "kafka_lag_exporter_data_loss_partitions_total": {key: 1},
        "klag_cluster_up": {key: 1},
        "klag_cycle_phase_seconds": {("alpha", "topics"): 0.001, ("alpha", "report"): 0.25},
        "klag_cycles_overrun_total": {key: 1},
        "klag_errors_total": {("alpha", "committed", "_TIMED_OUT"): 3, ("alpha", "topics", "_TRANSPORT"): 1},
        "klag_time_lag_reads_total": {key: 5},
        "klag_time_lag_read_bytes_total": {key: 81_920},
        "klag_time_lag_unread_partitions": {key: 1},
        "klag_negative_lag_clamped_total": {key: 2},
    } == found


def test_a_cluster_that_is_not_fresh_keeps_only_its_counts() -> None:
    found = series(samples.cluster_blocks(fixed.status("alpha", None, phases={}, errors={})))
    assert {
        "klag_cluster_up",
        "klag_cycles_overrun_total",
        "klag_time_lag_reads_total",
        "klag_time_lag_read_bytes_total",
        "klag_negative_lag_clamped_total",
    } == found.keys()
    assert {("alpha",): 0} == found["klag_cluster_up"]


@pytest.mark.parametrize(("up", "shown"), [(True, {(): 1}), (False, {(): 0}), (None, None)])
def test_the_process_is_up_down_or_silent(
    up: bool | None, shown: Mapping[tuple[str, ...], int] | None
) -> None:
    blocks = samples.process_blocks(
        version="1.2.3", up=up, leader=False, values_cut=0, log_lines_dropped=9, exports={}, reloads={}
    )
    found = series(blocks)
    assert shown == found.get("kafka_lag_exporter_up")
    assert {(): 0} == found["klag_leader"]
    assert {(): 0} == found["klag_label_values_cut_total"]
    assert {(): 9} == found["klag_log_lines_dropped_total"]
    assert {("1.2.3",): 1} == found["klag_build_info"]
    assert "klag_otlp_exports_total" not in found


def test_the_fixed_clusters_have_a_sample_of_every_family() -> None:
    blocks = [
        *fixed.lag_blocks("alpha", fixed.alpha()),
        *samples.cluster_blocks(fixed.status("alpha", fixed.alpha())),
        *samples.process_blocks(
            version="1.2.3",
            up=True,
            leader=True,
            values_cut=0,
            log_lines_dropped=0,
            exports={"success": 4},
            reloads={"success": 2},
        ),
    ]
    assert {family.name for family in (*LAG_FAMILIES, *STATUS_FAMILIES)} == series(blocks).keys()
