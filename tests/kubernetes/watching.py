"""What the watcher saw, and what can be said of it for certain.

An answer was true at some instant between its request and its end. So of a replica that answered yes several
times without a no in between it is certain that it led from the end of the first answer to the sending of the
last request. Two replicas led at once for certain where two such spans meet, or where the whole window of an
answer of one lies within a span of the other.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

# A replica that says nothing for so long may have stopped leading in between.
SILENCE = 0.5


@attrs.frozen(order=True)
class Observation:
    address: str
    asked: str
    sent: float
    received: float
    yes: bool


@attrs.frozen
class Stint:
    """Answers in a row by which one replica leads."""

    address: str
    asked: str
    answers: Sequence[Observation] = attrs.field(repr=False)

    @property
    def first(self) -> float:
        """When its first yes was complete."""
        return self.answers[0].received

    @property
    def last(self) -> float:
        """When the request of its last yes went out; before `first` where there is but one."""
        return self.answers[-1].sent


def stints(observations: Iterable[Observation]) -> list[Stint]:
    """The spans in which each replica says yes to each question."""
    found: list[Stint] = []
    by_source: dict[tuple[str, str], list[Observation]] = {}
    for seen in sorted(observations, key=lambda seen: seen.sent):
        by_source.setdefault((seen.address, seen.asked), []).append(seen)
    for (address, asked), answers in by_source.items():
        row: list[Observation] = []
        for seen in answers:
            if row and (not seen.yes or seen.received - row[-1].received > SILENCE):
                found.append(Stint(address, asked, tuple(row)))
                row = []
            if seen.yes:
                row.append(seen)
        if row:
            found.append(Stint(address, asked, tuple(row)))
    return sorted(found, key=lambda stint: stint.first)


def overlaps(found: Sequence[Stint]) -> list[tuple[Stint, Stint]]:
    """The pairs of stints of two replicas of which it is certain that both led at one instant."""
    return [
        (one, other)
        for index, one in enumerate(found)
        for other in found[index + 1 :]
        if one.address != other.address and _at_once(one, other)
    ]


def _at_once(one: Stint, other: Stint) -> bool:
    return _meet(one, other) or _within(one, other) or _within(other, one)


def _meet(one: Stint, other: Stint) -> bool:
    both = one.first <= one.last and other.first <= other.last
    return both and max(one.first, other.first) <= min(one.last, other.last)


def _within(span: Stint, other: Stint) -> bool:
    return any(span.first <= seen.sent and seen.received <= span.last for seen in other.answers)


def gaps(found: Sequence[Stint], asked: str = "/leader") -> list[tuple[float, float]]:
    """The times, start and length, in which nobody was seen to lead, between the first stint and the last."""
    between = []
    until: float | None = None
    for stint in sorted((s for s in found if s.asked == asked), key=lambda s: s.answers[0].sent):
        start, end = stint.answers[0].sent, stint.answers[-1].received
        if until is not None and start > until:
            between.append((until, start - until))
        until = end if until is None else max(until, end)
    return between


@attrs.define
class Watcher:
    """The watcher's process."""

    folder: Path
    process: subprocess.Popen[bytes]

    def watch(self, address: str) -> None:
        """Watch one more replica."""
        with (self.folder / "addresses").open("a") as file:
            print(address, file=file)

    def seen(self) -> list[Observation]:
        """All that it saw so far."""
        lines = (self.folder / "observations").read_text().splitlines(keepends=True)
        return [Observation(*json.loads(line)) for line in lines if line.endswith("\n")]

    def stop(self) -> list[Observation]:
        """End it and return all that it saw."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        return self.seen()


@contextmanager
def watching(folder: Path) -> Iterator[Watcher]:
    """A watcher that is gone after the block."""
    (folder / "addresses").write_text("")
    program = Path(__file__).with_name("watcher.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(folder / "addresses"), str(folder / "observations")],
        stdin=subprocess.DEVNULL,
    )
    try:
        while not (folder / "observations").exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield Watcher(folder, process)
    finally:
        process.kill()
        process.wait()
