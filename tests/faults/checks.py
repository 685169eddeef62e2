"""What must hold whatever happens to a cluster: the same checks for every fault."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import attrs
from tests.broker.waiting import wait_until
from tests.faults.estate import GROUPS, KAFKA_TIMEOUT, NODES, PARTITIONS, POLL, STEADY, TARGET, THRESHOLD
from tests.faults.table import Effect
from tests.program.program import STOP_SECONDS, troubles_that_last

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.observed import Held, Moment, Observed
    from tests.faults.table import Fault
    from tests.program.program import Program

CADENCE = 0.10
FAST_SECONDS = 0.1
SLOWEST_SECONDS = 1.0
RECOVERY_SECONDS = 2 * POLL
SETTLE_SECONDS = 20.0
# What a busy machine may take between the moment something is due and the moment a test sees it.
SLACK = 1.5


@attrs.frozen
class Measured:
    """The figures of one fault."""

    fault: str
    effect: str
    recovery_seconds: float | None
    stop_seconds: float
    health_p99_ms: float | None
    cadence_worst_percent: float | None


def stops_in_time(program: Program) -> float:
    """SIGTERM ends it as asked, and soon; returns the seconds."""
    code, seconds = program.stop(signal.SIGTERM)
    assert code == 0, program.output
    assert seconds < STOP_SECONDS
    return seconds


def keeps_its_cadence(seen: Observed) -> float:
    """Every cycle of the other cluster began on schedule; returns the worst lateness in percent of POLL."""
    first, *others = seen.starts(STEADY)
    assert len(others) >= 3
    late = []
    for number, start in enumerate(others, 1):
        late.append(abs(start - (first + POLL * number)))
        # What the machine kept everybody waiting is no fault of ours; where it has time, that is 1 ms.
        machine = seen.machine_lateness(start)
        assert late[-1] < CADENCE * POLL + machine, f"seconds off schedule: {late}, the machine {machine}"
    quiet = [line for line in seen.program.log() if line.get("cluster") == STEADY and "subject" in line]
    assert quiet == []
    return 100 * max(late) / POLL


def stays_healthy(seen: Observed, *, slowest: float = SLOWEST_SECONDS) -> float:
    """/health was always 200 and nearly always at once; returns the 99th percentile in milliseconds.

    As with the cadence, what the machine kept a thread waiting that only slept is not held against us.
    """
    assert {200} == {health.status for health in seen.health}
    took = sorted(health.seconds for health in seen.health)
    assert took[-1] < slowest, f"slowest: {took[-10:]}"
    ours = sorted(health.seconds - seen.machine_lateness(health.at) for health in seen.health)
    assert _p99(ours) < FAST_SECONDS, f"slowest: {ours[-10:]}"
    return 1000 * _p99(took)


def _p99(figures: Sequence[float]) -> float:
    return figures[int(0.99 * (len(figures) - 1))]


def is_whole(moment: Moment) -> bool:
    """Whether everything of both clusters is shown."""
    counts = len(moment.rows(TARGET)), len(moment.rows(STEADY))
    return counts == (len(GROUPS) * PARTITIONS, PARTITIONS) and moment.up(TARGET) == 1


def series_are_last_good_and_then_gone(seen: Observed, begun: float, ended: float, whole: Moment) -> None:
    """Of a cluster that is away: no other value than the last good one, until the threshold, then none."""
    during = [moment for moment in seen.since(begun) if moment.at < ended]
    shown = [moment for moment in during if moment.rows(TARGET)]
    assert {whole.rows(TARGET)} == {moment.rows(TARGET) for moment in shown}
    last_good = max(moment.last_update(TARGET) for moment in [whole, *shown])
    gone = next(moment for moment in during if not moment.rows(TARGET))
    # A cycle that the fault cut in two is good, and may have brought no row anew.
    since = whole.last_update(TARGET)
    # The last good cycle may have waited for its last call, and is fresh from then on.
    soonest, latest = since + THRESHOLD - SLACK, last_good + KAFKA_TIMEOUT + THRESHOLD + SLACK
    assert soonest < gone.at < latest, f"gone at {gone.at}, and not between {soonest} and {latest}"
    assert [] == [moment for moment in during if moment.at > gone.at and moment.rows(TARGET)]
    down = next(moment for moment in during if moment.up(TARGET) == 0)
    # A cycle begins, its calls time out one after the other, and the last of them is what a cycle needs.
    assert down.at < begun + POLL + 3 * KAFKA_TIMEOUT + SLACK
    assert {0} == {moment.up(TARGET) for moment in during if moment.at > down.at}
    others = {moment.rows(STEADY) for moment in during}
    assert {whole.rows(STEADY)} == others


def was_never_there(seen: Observed, ended: float) -> None:
    """Of a cluster that is away from the start: no series, and it is said to be down."""
    during = [moment for moment in seen.moments if moment.at < ended]
    assert {frozenset[str]()} == {moment.rows(TARGET) for moment in during}
    assert {0} == {moment.up(TARGET) for moment in during}


def series_all_stay(seen: Observed, since: float, fault: Fault) -> None:
    """No series is missing or different at any time."""
    whole = seen.since(since)[0].rows(TARGET)
    for moment in seen.since(since):
        rows = moment.rows(TARGET)
        assert whole == rows, f"{len(whole - rows)} are missing, {len(rows - whole)} are others"
        assert moment.rows(STEADY)
    if fault.effect is Effect.HARMLESS:
        assert {1} == {moment.up(TARGET) for moment in seen.since(since)}


def errors_say_what_happened(seen: Observed, fault: Fault, before: Moment, after: Moment) -> None:
    """Only what the fault may bring about was counted, and what it must."""
    earlier = before.errors(TARGET)
    counted = {key for key, count in after.errors(TARGET).items() if count > earlier.get(key, 0)}
    codes = {code for _, code in counted}
    assert codes <= fault.codes, f"counted besides: {[key for key in counted if key[1] not in fault.codes]}"
    assert not fault.told or codes & fault.told, f"counted: {counted}"
    if fault.effect is Effect.AWAY:
        lines = Counter(
            (line["event"], line["subject"], line["code"])
            for line in seen.program.log()
            if line.get("cluster") == TARGET and "subject" in line
        )
        assert {1} == set(lines.values()), f"said more than once: {lines}"


def recovers(seen: Observed, ended: float) -> float:
    """All is shown again, from a cycle that began after the fault; returns the seconds that it took."""
    recovered = seen.wait(
        lambda moment: is_whole(moment) and moment.last_update(TARGET) > ended, "everything is back"
    )
    assert recovered.at - ended < RECOVERY_SECONDS, f"took {recovered.at - ended:.1f} s"
    wait_until(lambda: troubles_that_last(seen.program, TARGET) == set(), "it says that all is well again")
    return recovered.at - ended


def leaves_nothing_behind(seen: Observed, rest: Held) -> None:
    """No more clients, sockets and busy threads than without the fault.

    A client that found its brokers anew may keep another connection to each than one that just began. Two
    clients live that long: one in the main process, and one in the process that reads.
    """

    def settled() -> bool:
        held = seen.held()
        return (
            held.clients <= rest.clients
            and held.sockets <= rest.sockets + 2 * NODES
            and held.busy_workers <= rest.busy_workers
        )

    deadline = time.monotonic() + SETTLE_SECONDS
    while not settled():
        assert time.monotonic() < deadline, f"holds {seen.held()}, and {rest} at rest"
        time.sleep(0.1)
