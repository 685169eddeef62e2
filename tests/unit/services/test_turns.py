from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from klag_trio.services.turns import Turns

SCRAPE, PROBE = b"GET /metrics HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\n"


async def crowd(turns: Turns, size: int, begun: list[int], nursery: trio.Nursery) -> None:
    async def ask(number: int) -> None:
        await turns.take(SCRAPE)
        begun.append(number)

    for number in range(size):
        nursery.start_soon(ask, number)


async def test_a_probe_does_not_wait_for_those_before_it(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    turns, begun = Turns(), list[int]()
    await crowd(turns, 1000, begun, nursery)
    await wait_all_tasks_blocked()
    assert 8 == len(begun)
    for probe in (PROBE, b"HEAD /ready HTTP/1.0\r\n", b"GET /health?x HTTP/1.1\r\n"):
        with trio.fail_after(0):
            await turns.take(probe)
    for other in (b"GET /healthy HTTP/1.1\r\n", b"POST /health HTTP/1.1\r\n", b"GET /metrics"):
        with trio.move_on_after(0) as scope:
            await turns.take(other)
        assert scope.cancelled_caught
    nursery.cancel_scope.cancel()


async def test_a_few_begin_in_each_turn_and_all_in_the_end(
    mock_clock: MockClock, nursery: trio.Nursery
) -> None:
    turns, begun = Turns(), list[int]()
    await crowd(turns, 1000, begun, nursery)
    await wait_all_tasks_blocked()
    waited = begun.copy()
    await nursery.start(turns.run)
    most = 0
    while len(begun) < 1000:
        before = len(begun)
        await trio.lowlevel.checkpoint()
        most = max(most, len(begun) - before)
    assert most <= 16
    assert sorted(begun) == list(range(1000))
    assert begun[:8] == waited


async def test_who_comes_alone_does_not_wait_even_where_nobody_calls_up(mock_clock: MockClock) -> None:
    turns = Turns()
    for _ in range(100):
        with trio.fail_after(0):
            await turns.take(SCRAPE)
        mock_clock.jump(0.01)


async def test_who_leaves_is_not_called_up(mock_clock: MockClock, nursery: trio.Nursery) -> None:
    turns, begun = Turns(), list[int]()
    async with trio.open_nursery() as leaving:
        await crowd(turns, 100, begun, leaving)
        await wait_all_tasks_blocked()
        leaving.cancel_scope.cancel()
    await crowd(turns, 10, begun, nursery)
    await nursery.start(turns.run)
    await wait_all_tasks_blocked()
    assert 18 == len(begun)
