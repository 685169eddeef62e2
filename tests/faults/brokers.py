"""What befalls brokers. Each function makes a block as long as which the fault lasts."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.broker.waiting import wait_until
from tests.faults.estate import POLL, TARGET, Estate, now
from tests.faults.meanwhile import meanwhile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.estate import Begin
    from tests.faults.observed import Observed

    from stack.kafka import KafkaNode


@contextmanager
def broker_missing(estate: Estate, _: Observed | None) -> Iterator[None]:
    with _back_again(estate, estate.target.nodes[:1]) as nodes:
        nodes[0].stop()
        yield


@contextmanager
def all_missing(estate: Estate, _: Observed | None) -> Iterator[None]:
    with _back_again(estate, estate.target.nodes) as nodes:
        # Without a quorum, the orderly end of the last ones takes long.
        for node in nodes:
            node.kill()
        yield


def killed(count: int) -> Begin:
    @contextmanager
    def begin(estate: Estate, seen: Observed | None) -> Iterator[None]:
        with _back_again(estate, estate.target.nodes[-count:]) as nodes:
            _wait_for_a_cycle_to_begin(seen)
            for node in nodes:
                node.kill()
            yield

    return begin


def all_frozen(count: int) -> Begin:
    """The last brokers keep their connections and answer nothing."""

    @contextmanager
    def begin(estate: Estate, seen: Observed | None) -> Iterator[None]:
        _wait_for_a_cycle_to_begin(seen)
        with frozen(estate.target.nodes[-count:]):
            yield
        estate.target.wait_until_ready()

    return begin


@contextmanager
def frozen(nodes: Sequence[KafkaNode]) -> Iterator[None]:
    """Let brokers stand still as long as the block."""
    try:
        for node in nodes:
            node.freeze()
        yield
    finally:
        for node in nodes:
            node.thaw()


@contextmanager
def restarted_in_turn(estate: Estate, _: Observed | None) -> Iterator[None]:
    def restart(stopping: threading.Event) -> None:
        for node in estate.target.nodes:
            node.stop()
            node.launch()
            estate.target.wait_until_ready()

    with meanwhile(restart):
        yield


@contextmanager
def _back_again(estate: Estate, nodes: list[KafkaNode]) -> Iterator[list[KafkaNode]]:
    try:
        yield nodes
    finally:
        for node in nodes:
            node.launch()
        estate.target.wait_until_ready()


def _wait_for_a_cycle_to_begin(seen: Observed | None) -> None:
    """Return while a cycle is under way, by the schedule that cycles keep."""
    assert seen is not None
    before = len(seen.starts(TARGET))
    due = seen.starts(TARGET)[-1] + POLL
    wait_until(lambda: now() > due or len(seen.starts(TARGET)) > before, "the next cycle")
