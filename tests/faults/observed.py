"""A klag-trio that is looked at all the time, as a scraper and a prober do, and from outside."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import attrs
from benchmarks.family import family, socket_inodes
from tests.broker.waiting import wait_until
from tests.faults.estate import TARGET
from tests.program.program import LAST_UPDATE, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.program.program import Program

LAG = "kafka_consumergroup_group_lag"
HEALTH_SECONDS = 0.1
SCRAPE_SECONDS = 0.2
NEARBY_SECONDS = 1.0
_LAG_ROW = re.compile(rf'^{LAG}{{cluster_name="(\w+)",group="([\w-]+)",.*}} \S+$', re.MULTILINE)
_LINES_TOLD = 60
_IDLE_WORKER = "Trio thread"


class Held(NamedTuple):
    """What a process holds."""

    clients: int
    """Of librdkafka."""
    sockets: int
    busy_workers: int
    """Threads that a call is made in: each has a token of a limiter."""


@attrs.frozen
class Moment:
    """What /metrics showed at one time."""

    at: float
    page: Page

    def rows(self, cluster: str, groups: str = "app-") -> frozenset[str]:
        """The lines that tell the lag of the groups whose names begin so, with labels and values."""
        found = _LAG_ROW.finditer(self.page.text)
        return frozenset(m[0] for m in found if m[1] == cluster and m[2].startswith(groups))

    def up(self, cluster: str) -> float | None:
        return self.page.value("klag_cluster_up", cluster_name=cluster)

    def last_update(self, cluster: str) -> float:
        return self.page.value(LAST_UPDATE, cluster_name=cluster) or 0.0

    def errors(self, cluster: str) -> dict[tuple[str, str], float]:
        """The counts of errors by stage and code."""
        rows = self.page.rows("klag_errors_total", cluster_name=cluster).items()
        return {(dict(labels)["stage"], dict(labels)["code"]): count for labels, count in rows}


class Health(NamedTuple):
    """One answer of /health."""

    at: float
    status: int
    seconds: float


@attrs.define
class Observed:
    """A running program and everything that was seen of it."""

    program: Program
    moments: list[Moment] = attrs.field(factory=list)
    health: list[Health] = attrs.field(factory=list)
    machine_late: list[tuple[float, float]] = attrs.field(factory=list)
    """When a thread here that only slept woke up, and how much too late."""
    failure: BaseException | None = None

    def check(self) -> None:
        """Raise what kept it from looking."""
        if self.failure is not None:
            raise self.failure

    def machine_lateness(self, at: float) -> float:
        """The most that the machine kept a thread waiting about then; where it has time, that is 1 ms."""
        return max(late for when, late in self.machine_late if abs(when - at) < NEARBY_SECONDS)

    def since(self, at: float) -> list[Moment]:
        return [moment for moment in self.moments if moment.at >= at]

    def wait(self, condition: Callable[[Moment], bool], what: str, seconds: float = 30.0) -> Moment:
        """Wait for a moment from now on in which it is so."""
        seen = len(self.moments)

        def found() -> Moment | None:
            self.check()
            return next((moment for moment in self.moments[seen:] if condition(moment)), None)

        moment = wait_until(found, what, seconds)
        assert moment is not None
        return moment

    def good_cycles(self, count: int, *, since: float, seconds: float = 30.0) -> None:
        """Wait until so many cycles of the target that began after a time were good."""

        def enough() -> bool:
            updates = {moment.last_update(TARGET) for moment in self.since(since)}
            return len([update for update in updates if update > since]) >= count

        wait_until(enough, f"{count} good cycles", seconds)

    def starts(self, cluster: str) -> list[float]:
        """When each cycle that has ended began."""
        return [
            datetime.fromisoformat(line["timestamp"]).timestamp() - line["seconds"]
            for line in self.program.log("cycle")
            if line["cluster"] == cluster
        ]

    def held(self) -> Held:
        """What the process and those that it has started hold now."""
        pid, names = self.program.process.pid, []
        for member in family(pid):
            # What has just ended holds nothing.
            with suppress(FileNotFoundError, ProcessLookupError):
                for task in Path(f"/proc/{member}/task").iterdir():
                    with suppress(FileNotFoundError, ProcessLookupError):
                        names.append((task / "comm").read_text().strip())
        sockets = len(socket_inodes(pid))
        workers = [name for name in names if not name.startswith(("rdk:", "python", _IDLE_WORKER))]
        return Held(names.count("rdk:main"), sockets, len(workers))

    def look(self, stopping: threading.Event, act: Callable[[], None], every: float) -> None:
        """Do something again and again; what it raises is kept."""
        try:
            due = time.monotonic() + every
            while not stopping.wait(due - time.monotonic()):
                self.machine_late.append((time.time(), time.monotonic() - due))
                act()
                due = time.monotonic() + every
        except BaseException as exc:  # told by check()
            if not stopping.is_set():
                self.failure = exc

    def scrape(self) -> None:
        self.moments.append(Moment(time.time(), self.program.metrics()))

    def probe(self) -> None:
        at, began = time.time(), time.monotonic()
        status, _ = self.program.get("/health")
        self.health.append(Health(at, status, time.monotonic() - began))


@contextmanager
def observed(program: Program) -> Iterator[Observed]:
    """Look at a program as long as the block."""
    seen = Observed(program)
    assert program.port
    stopping = threading.Event()
    threads = [
        threading.Thread(target=seen.look, args=(stopping, act, every))
        for act, every in ((seen.scrape, SCRAPE_SECONDS), (seen.probe, HEALTH_SECONDS))
    ]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: seen.moments and seen.health, "the first look")
        yield seen
    except AssertionError:
        # For whoever reads why: what it said at the time.
        lines = [line for line in program.log() if "rdkafka" not in str(line.get("logger"))]
        print(*lines[-_LINES_TOLD:], sep="\n")  # noqa: T201
        raise
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
