"""What a replica hands out while it does not lead."""

from __future__ import annotations

import trio
from tests.unit.services.exports import by_cluster, exported, lag
from tests.unit.services.test_board import POLL, THRESHOLD, cycle, group_report
from trio.testing import MockClock

from klag_trio.config import Cluster
from klag_trio.domain.offsets import Fault
from klag_trio.exposition import families
from klag_trio.exposition.samples import LazyBlocks
from klag_trio.services.board import Board
from klag_trio.services.tenure import Tenure


def make_board(tenure: Tenure) -> Board:
    return Board(
        [Cluster(name="a", bootstrap_servers="unused:1")],
        partition_series=True,
        time_lag=False,
        staleness_threshold=THRESHOLD,
        poll_interval=POLL,
        log_lines_dropped=lambda: 0,
        tenure=tenure,
    )


def assert_pushes_no_lag(several: list[LazyBlocks]) -> None:
    pushed = [block for make in several for block in make()]
    told = {family: list(column) for block in pushed for family, column in block.columns.items()}
    assert [0] == told[families.LEADER]
    for family in (families.GROUP_LAG, families.CLUSTER_UP, families.UP):
        # Nothing is sent for None.
        assert {None} >= set(told.get(family, ()))


def assert_stands_by(board: Board) -> None:
    text = b"".join(board.metrics(openmetrics=False).chunks).decode()
    assert "kafka_consumergroup" not in text
    assert "kafka_partition" not in text
    assert {(): 0.0} == exported(board, "klag_leader")
    assert {} == exported(board, "kafka_lag_exporter_up")
    assert {} == by_cluster(board, "klag_cluster_up")
    assert not board.is_leader()
    assert_pushes_no_lag(board.lazy_blocks())
    published = board.published()
    assert not published.leader
    assert [None] == [cluster.report for cluster in published.clusters]


async def test_a_replica_that_never_led_stands_by_and_says_who_leads(virtual_time: MockClock) -> None:
    tenure = Tenure(trio.current_time)
    board = make_board(tenure)
    assert_stands_by(board)
    tenure.holder = "pod-2"
    assert "standing by: pod-2 leads" == board.unready()
    tenure.trouble = "the API server did not answer within 5 s"
    assert "standing by: the API server did not answer within 5 s" == board.unready()


async def test_what_was_published_is_not_served_past_the_end_of_the_term_although_nothing_ran(
    virtual_time: MockClock,
) -> None:
    slept = 0.0
    tenure = Tenure(lambda: slept)
    board = make_board(tenure)
    tenure.until = 10.0
    await board.publish("a", cycle(group_report("app")))
    assert {("a", "app"): 7.0} == lag(board)
    assert board.unready() is None
    begun = board.lazy_blocks()
    slept = 10.0
    assert_stands_by(board)
    # Not by a push either that was under way.
    assert_pushes_no_lag(begun)


async def test_a_new_term_begins_without_the_lag_of_an_earlier_one(virtual_time: MockClock) -> None:
    tenure = Tenure(trio.current_time)
    board = make_board(tenure)
    tenure.until = trio.current_time() + 10
    await board.publish("a", cycle(group_report("app")))
    await trio.sleep(10)
    await board.change_term()
    tenure.until = trio.current_time() + 10
    assert {} == lag(board)
    assert {"a": 0.0} == by_cluster(board, "klag_cluster_up")
    # Up gets as long as after a start.
    assert {} == exported(board, "kafka_lag_exporter_up")
    assert "no fresh metrics; cluster a: no cycle finished yet" == board.unready()
    await board.publish("a", cycle(group_report("app", to_go=3)))
    assert {("a", "app"): 3.0} == lag(board)


async def test_the_errors_of_a_term_end_with_it_and_their_counts_do_not(virtual_time: MockClock) -> None:
    tenure = Tenure(trio.current_time)
    board = make_board(tenure)
    tenure.until = trio.current_time() + 10
    board.faults("a").record("topics", "", Fault("_TRANSPORT", "broker gone"))
    await board.publish("a", cycle(None))
    assert [1] == [len(cluster.faults) for cluster in board.published().clusters]
    await board.change_term()
    assert [[]] == [list(cluster.faults) for cluster in board.published().clusters]
    assert {("topics", "_TRANSPORT"): 1} == board.faults("a").counts


async def test_a_standby_goes_on_telling_about_its_process(
    virtual_time: MockClock, nursery: trio.Nursery
) -> None:
    board = make_board(Tenure(trio.current_time))
    await nursery.start(board.run)
    before = board.metrics(openmetrics=True)
    await trio.sleep(POLL + 1)
    assert before is not board.metrics(openmetrics=True)
    assert_stands_by(board)
