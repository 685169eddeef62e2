from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import TypeVar

import pytest
import trio
from tests.unit.domain.snapshots import NOW, T0, lag_report, snapshot
from tests.unit.services.exports import by_cluster, exported, lag
from trio.testing import MockClock

from klag_trio.config import Cluster
from klag_trio.domain.lag import LagReport
from klag_trio.domain.offsets import Fault
from klag_trio.services.board import Board, Cycle, RenderingError

T = TypeVar("T")

POLL, THRESHOLD = 30.0, 90.0
POLL_SECONDS = 0.5
DOWN = Fault("_TRANSPORT", "connection refused")


def make_board(*names: str, partition_series: bool = True) -> Board:
    return Board(
        [Cluster(name=name, bootstrap_servers="unused:1", labels={"env": name}) for name in names],
        partition_series=partition_series,
        time_lag=False,
        staleness_threshold=THRESHOLD,
        poll_interval=POLL,
        log_lines_dropped=lambda: 5,
    )


def group_report(*groups: str, to_go: int = 7) -> LagReport:
    return lag_report(snapshot({T0: (0, 10**6)}, {group: {T0: 10**6 - to_go} for group in groups}))


def cycle(report: LagReport | None, *, started: float | None = None) -> Cycle:
    return Cycle(
        started=trio.current_time() if started is None else started,
        phases={"topics": 0.25},
        poll_seconds=None if report is None else POLL_SECONDS,
        report=report,
    )


async def test_a_report_that_cannot_be_rendered_changes_nothing(
    virtual_time: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = make_board("prod", "other")
    await board.publish("prod", cycle(group_report("app")))
    before = board.metrics(openmetrics=False).chunks
    with monkeypatch.context() as patched:
        patched.setattr("klag_trio.exposition.samples.lag_blocks", lambda *_, **__: 1 // 0)
        with pytest.raises(RenderingError) as caught:
            await board.publish("prod", cycle(group_report("odd")))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert before == board.metrics(openmetrics=False).chunks
    await board.publish("other", cycle(group_report("app")))
    assert {("prod", "app"): 7.0, ("other", "app"): 7.0} == lag(board)


# Before anything is known


async def test_before_the_first_cycle_there_is_a_body_without_lag(virtual_time: MockClock) -> None:
    board = make_board("a", "b")
    assert {} == lag(board)
    assert {"a": 0.0, "b": 0.0} == by_cluster(board, "klag_cluster_up")
    assert {(): 1.0} == exported(board, "klag_leader")
    assert b"process_start_time_seconds" in b"".join(board.metrics(openmetrics=False).chunks)


async def test_up_is_absent_until_the_threshold_has_passed_since_the_start(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    board = make_board("a")
    await nursery.start(board.run)
    assert {} == exported(board, "kafka_lag_exporter_up")
    await trio.sleep(THRESHOLD - 1)
    assert {} == exported(board, "kafka_lag_exporter_up")
    await trio.sleep(2)
    assert {(): 0.0} == exported(board, "kafka_lag_exporter_up")


# Cycles


async def test_a_good_cycle_is_served_at_once(virtual_time: MockClock) -> None:
    board = make_board("a", "b")
    await board.publish("a", cycle(group_report("app"), started=trio.current_time() - 1.5))
    assert {("a", "app"): 7.0} == lag(board)
    assert {"a": 1.0, "b": 0.0} == by_cluster(board, "klag_cluster_up")
    assert {(): 1.0} == exported(board, "kafka_lag_exporter_up")
    assert {"a": NOW} == by_cluster(board, "kafka_lag_exporter_last_update_timestamp_seconds")
    assert {"a": 1.5} == by_cluster(board, "kafka_lag_exporter_scrape_duration_seconds")
    assert {"a": 500.0} == by_cluster(board, "kafka_consumergroup_poll_time_ms")
    assert {("a", "topics"): 0.25} == exported(board, "klag_cycle_phase_seconds", "cluster_name", "phase")


async def test_a_new_report_takes_the_place_of_the_last_one(virtual_time: MockClock) -> None:
    board = make_board("a")
    await board.publish("a", cycle(group_report("old", "app")))
    await board.publish("a", cycle(group_report("app", to_go=3)))
    assert {("a", "app"): 3.0} == lag(board)


async def test_constant_labels_are_those_of_the_cluster(virtual_time: MockClock) -> None:
    board = make_board("a", "b")
    for name in ("a", "b"):
        await board.publish(name, cycle(group_report("app")))
    sums = exported(board, "kafka_consumergroup_group_sum_lag", "cluster_name", "env")
    assert {("a", "a"), ("b", "b")} == sums.keys()


async def test_by_topic_no_partition_of_a_group_is_served(virtual_time: MockClock) -> None:
    board = make_board("a", partition_series=False)
    await board.publish("a", cycle(group_report("app")))
    assert {("a", "app"): 7.0} == lag(board)
    assert {} == exported(board, "kafka_consumergroup_group_lag")


async def test_a_failed_cycle_says_down_and_keeps_the_lag(virtual_time: MockClock) -> None:
    board = make_board("a")
    await board.publish("a", cycle(group_report("app")))
    board.faults("a").record("groups", "", DOWN)
    await board.publish("a", cycle(None))
    assert {"a": 0.0} == by_cluster(board, "klag_cluster_up")
    assert {("a", "app"): 7.0} == lag(board)
    assert {(): 1.0} == exported(board, "kafka_lag_exporter_up")
    assert {("a", "groups", "_TRANSPORT"): 1.0} == exported(
        board, "klag_errors_total", "cluster_name", "stage", "code"
    )
    assert board.unready() is None


@pytest.mark.parametrize(("seconds", "overruns"), [(POLL, 0), (POLL + 1, 1)])
async def test_a_cycle_that_outlasts_the_interval_is_counted(
    virtual_time: MockClock, seconds: float, overruns: int
) -> None:
    board = make_board("a")
    for _ in range(2):
        await board.publish("a", cycle(group_report("app"), started=trio.current_time() - seconds))
    assert {"a": 2.0 * overruns} == by_cluster(board, "klag_cycles_overrun_total")
    assert {"a": seconds} == by_cluster(board, "kafka_lag_exporter_scrape_duration_seconds")


async def test_clamped_rows_add_up_over_the_cycles(virtual_time: MockClock) -> None:
    board = make_board("a")
    beyond = lag_report(snapshot({T0: (0, 5)}, {"a": {T0: 6}, "b": {T0: 7}}))
    for _ in range(3):
        await board.publish("a", cycle(beyond))
    assert {"a": 6.0} == by_cluster(board, "klag_negative_lag_clamped_total")


async def test_label_values_that_were_cut_add_up_over_cycles_and_clusters(virtual_time: MockClock) -> None:
    board = make_board("a", "b")
    assert {(): 0.0} == exported(board, "klag_label_values_cut_total")
    assert {(): 5.0} == exported(board, "klag_log_lines_dropped_total")
    long = group_report("app", "x" * 600, "y" * 600)
    for name in ("a", "a", "b"):
        await board.publish(name, cycle(long))
    assert {(): 6.0} == exported(board, "klag_label_values_cut_total")
    await board.publish("a", cycle(None))
    await board.publish("a", cycle(group_report("app")))
    assert {(): 6.0} == exported(board, "klag_label_values_cut_total")


async def test_what_reading_took_is_served(virtual_time: MockClock) -> None:
    board = make_board("a", "b")
    reads = board.reads("a")
    reads.records, reads.bytes, reads.unread_partitions = 4, 512, 2
    await board.publish("a", cycle(group_report("app")))
    assert {"a": 4.0, "b": 0.0} == by_cluster(board, "klag_time_lag_reads_total")
    assert {"a": 512.0, "b": 0.0} == by_cluster(board, "klag_time_lag_read_bytes_total")
    assert {"a": 2.0} == by_cluster(board, "klag_time_lag_unread_partitions")


# Staleness


async def test_a_stale_cluster_drops_out_at_the_threshold_and_no_other_does(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    board = make_board("a", "b")
    await nursery.start(board.run)
    await board.publish("a", cycle(group_report("app")))
    await trio.sleep(60)
    await board.publish("b", cycle(group_report("app")))
    await trio.sleep(29)
    assert {("a", "app"), ("b", "app")} == lag(board).keys()
    await trio.sleep(2)
    assert {("b", "app")} == lag(board).keys()
    assert {("b", "orders", "0")} == exported(
        board, "kafka_partition_latest_offset", "cluster_name", "topic", "partition"
    ).keys()
    for name in (
        "kafka_lag_exporter_last_update_timestamp_seconds",
        "kafka_lag_exporter_scrape_duration_seconds",
        "kafka_lag_exporter_data_loss_partitions_total",
        "kafka_consumergroup_poll_time_ms",
    ):
        assert {"b"} == by_cluster(board, name).keys()
    assert {(): 1.0} == exported(board, "kafka_lag_exporter_up")
    await trio.sleep(60)
    assert {} == lag(board)
    assert {(): 0.0} == exported(board, "kafka_lag_exporter_up")


async def test_a_cluster_that_turned_stale_is_down_though_its_last_cycle_was_good(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    board = make_board("a")
    await nursery.start(board.run)
    await board.publish("a", cycle(group_report("app")))
    await trio.sleep(THRESHOLD + 1)
    assert {"a": 0.0} == by_cluster(board, "klag_cluster_up")


async def test_a_cluster_that_comes_back_is_served_again(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    board = make_board("a")
    await nursery.start(board.run)
    await board.publish("a", cycle(group_report("app")))
    await trio.sleep(500)
    await board.publish("a", cycle(group_report("app")))
    assert {("a", "app"): 7.0} == lag(board)
    assert {(): 1.0} == exported(board, "kafka_lag_exporter_up")
    await trio.sleep(THRESHOLD + 1)
    assert {} == lag(board)


async def test_a_failed_cycle_does_not_make_a_cluster_younger(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    board = make_board("a")
    await nursery.start(board.run)
    await board.publish("a", cycle(group_report("app")))
    for _ in range(2):
        await trio.sleep(40)
        await board.publish("a", cycle(None))
    await trio.sleep(11)
    assert {} == lag(board)


async def test_clusters_that_turn_stale_one_during_the_others_publication_both_drop_out(
    virtual_time: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = make_board("a", "b")
    await board.publish("a", cycle(group_report("app")))
    await trio.sleep(0.5)
    await board.publish("b", cycle(group_report("app")))
    take_a_second(virtual_time, monkeypatch)
    await nursery.start(board.run)
    await trio.sleep(THRESHOLD + 5)
    assert {} == lag(board)


def take_a_second(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything that runs in a thread take a second."""
    run_sync = trio.to_thread.run_sync

    async def slowly(work: Callable[..., T], *args: object) -> T:
        result = await run_sync(work, *args)
        clock.jump(1)
        return result

    monkeypatch.setattr(trio.to_thread, "run_sync", slowly)


# What is said about readiness


async def test_a_cluster_without_a_cycle_is_a_reason_not_to_be_ready(virtual_time: MockClock) -> None:
    assert "no fresh metrics; cluster a: no cycle finished yet" == make_board("a").unready()


async def test_each_cluster_has_its_reason_not_to_be_ready(virtual_time: MockClock) -> None:
    board = make_board("a", "b")
    board.faults("b").record("groups", "", DOWN)
    await board.publish("b", cycle(None))
    reasons = "cluster a: no cycle finished yet; cluster b: groups: connection refused (_TRANSPORT)"
    assert f"no fresh metrics; {reasons}" == board.unready()


async def test_one_fresh_cluster_is_ready(virtual_time: MockClock) -> None:
    board = make_board("a", "b")
    await board.publish("b", cycle(group_report("app")))
    assert board.unready() is None


async def test_a_cluster_that_hangs_is_not_ready_from_the_threshold_on(virtual_time: MockClock) -> None:
    board = make_board("a")
    await board.publish("a", cycle(group_report("app")))
    await trio.sleep(THRESHOLD)
    assert board.unready() is None
    await trio.sleep(POLL_SECONDS)
    assert "no fresh metrics; cluster a: the last good cycle is more than 90 s old" == board.unready()


async def test_the_error_of_a_single_group_is_no_reason(virtual_time: MockClock) -> None:
    board = make_board("a")
    board.faults("a").record("committed", "app", DOWN)
    await board.publish("a", cycle(group_report("other")))
    assert board.unready() is None
    (state,) = board.published().clusters
    assert not state.failing
    assert [("committed", "app", DOWN)] == list(state.faults)


async def test_the_pages_are_told_how_each_cluster_is_doing(virtual_time: MockClock) -> None:
    board = make_board("a", "b", "c")
    report = group_report("app", "other")
    await board.publish("a", cycle(report, started=trio.current_time() - 1.5))
    board.reads("a").unread_partitions = 3
    board.faults("b").record("topics", "", DOWN)
    await board.publish("b", cycle(None))
    published = board.published()
    a, b, c = published.clusters
    assert (True, POLL, THRESHOLD) == (
        published.leader, published.poll_interval, published.staleness_threshold
    )  # fmt: skip
    assert ("a", False, NOW, 1.5, {"topics": 0.25}, 3) == (
        a.name, a.failing, a.last_good, a.cycle_seconds, a.phases, a.unread_partitions
    )  # fmt: skip
    assert report is a.report
    assert [(NOW, 7.0)] == a.history.trend("app")
    assert ("b", True, None, None, [("topics", "", DOWN)]) == (
        b.name, b.failing, b.last_good, b.report, b.faults
    )  # fmt: skip
    assert ("c", False, None, None, None) == (c.name, c.failing, c.last_good, c.report, c.cycle_seconds)


async def test_the_pages_get_no_stale_report(virtual_time: MockClock) -> None:
    board = make_board("a")
    await board.publish("a", cycle(group_report("app")))
    await trio.sleep(THRESHOLD + POLL_SECONDS)
    (state,) = board.published().clusters
    assert (None, NOW) == (state.report, state.last_good)


# Readers while something is published


async def test_a_reader_sees_the_old_bytes_or_the_new_ones_whole() -> None:
    board = make_board("a", "b")
    groups = [f"group-{i}" for i in range(20)]
    seen: list[set[float]] = []
    published = trio.Event()

    async def publish(name: str) -> None:
        for to_go in range(10):
            await board.publish(name, cycle(group_report(*groups, to_go=to_go)))

    async def read() -> None:
        last = None
        while not published.is_set():
            if (body := board.metrics(openmetrics=True)) is not last:
                last = body
                plain = b"".join(body.chunks)
                assert plain == gzip.decompress(body.gzipped)
                assert len(plain) == body.length
                assert plain.endswith(b"\n# EOF\n")
                for name in ("a", "b"):
                    values = {v for (cluster, _), v in lag(board).items() if cluster == name}
                    assert len(values) <= 1
                    seen.append(values)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as readers:
        readers.start_soon(read)
        async with trio.open_nursery() as publishers:
            publishers.start_soon(publish, "a")
            publishers.start_soon(publish, "b")
        published.set()
    assert len(seen) > 2
    assert {(name, group): 9.0 for name in ("a", "b") for group in groups} == lag(board)


async def test_what_a_reader_holds_does_not_change(virtual_time: MockClock) -> None:
    board = make_board("a")
    await board.publish("a", cycle(group_report("app")))
    held = board.metrics(openmetrics=False)
    before = b"".join(held.chunks), held.gzipped
    await board.publish("a", cycle(group_report("other")))
    assert before == (b"".join(held.chunks), held.gzipped)
    assert held is not board.metrics(openmetrics=False)
