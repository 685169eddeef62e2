"""What the board hands to the pusher."""

from __future__ import annotations

import trio
from tests.unit.services.exports import lag
from tests.unit.services.test_board import THRESHOLD, cycle, group_report, make_board
from trio.testing import MockClock

from klag_trio.exposition.families import LABEL_VALUES_CUT, Family
from klag_trio.services.board import Board


def lag_clusters(board: Board) -> list[str]:
    """The clusters whose lag is handed out."""
    return [
        str(block.constant.get("cluster_name") or block.rows[0][0])
        for make in board.lazy_blocks()
        for block in make()
        if any(tells_lag(family) for family in block.columns)
    ]


def tells_lag(family: Family) -> bool:
    return family.name == "kafka_consumergroup_group_sum_lag"


async def test_a_stale_cluster_sends_no_lag_and_a_fresh_one_does(virtual_time: MockClock) -> None:
    board = make_board("a", "b")
    report = group_report("billing")
    await board.publish("a", cycle(report))
    await trio.sleep(THRESHOLD - 1)
    await board.publish("b", cycle(report))
    assert ["a", "b"] == lag_clusters(board)
    await trio.sleep(2)
    assert ["b"] == lag_clusters(board)


async def test_a_push_has_the_label_values_of_the_page_and_counts_none_again(virtual_time: MockClock) -> None:
    board = make_board("a")
    await board.publish("a", cycle(group_report("x" * 600)))
    for _ in range(2):
        blocks = [block for make in board.lazy_blocks() for block in make()]
        (sums,) = [block for block in blocks if any(map(tells_lag, block.columns))]
        assert list(lag(board)) == sums.rows
        (counts,) = [block.columns[LABEL_VALUES_CUT] for block in blocks if LABEL_VALUES_CUT in block.columns]
        assert [1] == counts
