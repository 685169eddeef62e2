"""How far every time lag is from the truth, on idle topics and on live ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import attrs

from benchmarks import exposition
from benchmarks.figures import Figures, percentile
from benchmarks.fill import Filler
from benchmarks.live import LiveTraffic
from benchmarks.scrape import ScrapeError, fetch
from benchmarks.subjects import Dialect, Subject
from benchmarks.trial import Settings, start
from benchmarks.truth import Commit, PartitionTruth, Place, Truth
from benchmarks.workload import Workload

IDLE = Workload("idle", topics=20, partitions=5, records=50, groups=10, group_partitions=10)
_SETTLE_CYCLES = 3  # a rate needs some before it exists
_LATEST = "kafka_partition_latest_offset"


@attrs.frozen
class Row:
    """One group-partition of one body."""

    group: str
    place: Place
    committed: int
    latest: int
    age: float | None


@attrs.frozen
class Errors:
    """Seconds off, by kind of topic: against the exporter's own now, and at the instant of the scrape."""

    against_now: list[float] = attrs.field(factory=list)
    at_scrape: list[float] = attrs.field(factory=list)
    rows: list[bool] = attrs.field(factory=list)  # lagging rows: whether they carry a time lag
    wrong_commits: list[Row] = attrs.field(factory=list)  # not committed at any instant of the cycle

    def figures(self, kind: str) -> Figures:
        found: Figures = {
            f"{kind}_rows": len(self.rows),
            f"{kind}_without_value": self.rows.count(False),
            f"{kind}_wrong_commits": len(self.wrong_commits),
        }
        for name, values in (("now", self.against_now), ("scrape", self.at_scrape)):
            found[f"{kind}_{name}_p50_s"] = percentile(values, 0.5)
            found[f"{kind}_{name}_p99_s"] = percentile(values, 0.99)
            found[f"{kind}_{name}_max_s"] = max(values, default=None)
        return found


@attrs.frozen
class CycleTime:
    """The instant an exporter calls now, and between which instants its commits were asked for."""

    now: float
    earliest: float
    latest: float

    @classmethod
    def of(cls, body: bytes, dialect: Dialect) -> CycleTime | None:
        """None where the exporter does not say when its last cycle was."""
        updates = exposition.values(body, dialect.last_update) if dialect.last_update else []
        durations = exposition.values(body, dialect.cycle) if dialect.cycle else []
        if not updates or not durations:
            return None
        # Some exporters tell whole seconds, of the end of their cycle.
        slack = 1.1 if updates[0].is_integer() else 0.01
        return cls(updates[0], updates[0] - durations[0] - slack, updates[0] + slack)


def read_rows(body: bytes, dialect: Dialect) -> list[Row]:
    """Every group-partition of the body with its offsets and its time lag, where it has one."""
    if dialect.committed is None or dialect.time_lag is None:
        return []
    ends = {_place(labels): int(value) for labels, value in exposition.samples(body, _LATEST)}
    ages = {
        (labels["group"], _place(labels)): value
        for labels, value in exposition.samples(body, dialect.time_lag)
    }
    return [
        Row(labels["group"], place, int(value), ends[place], ages.get((labels["group"], place)))
        for labels, value in exposition.samples(body, dialect.committed)
        if (place := _place(labels)) in ends
    ]


def idle_truth(workload: Workload, base_ms: int) -> Truth:
    """The truth of a filled workload in which nothing moves."""
    truth = Truth()
    offsets = range(workload.records)
    for number in range(workload.partition_count):
        stamps = [workload.timestamp_ms(base_ms, number, offset) / 1000 for offset in offsets]
        truth.partitions[workload.place(number)] = PartitionTruth(stamps, [0.0] * workload.records)
    for group in range(workload.groups):
        for number in workload.partitions_of(group):
            first = Commit(0.0, 0.0, workload.committed(group, number))
            truth.commits[workload.group(group), workload.place(number)] = [first]
    return truth


def judge(
    rows: Sequence[Row], truth: Truth, errors: Errors, *, scraped: float, cycle: CycleTime | None
) -> None:
    """Add the errors of one body's rows; those against the exporter's now only where `cycle` is a new one."""
    for row in rows:
        partition = truth.partitions.get(row.place)
        commit = truth.committed(row.group, row.place, scraped)
        if partition is None or commit is None:
            continue
        if row.age is not None:
            really = partition.age(commit.offset, partition.end(scraped), scraped)
            _add(errors.at_scrape, row.age, really)
        if cycle is None:
            continue
        if row.latest > row.committed:
            errors.rows.append(row.age is not None)
        if row.age is not None:
            then = partition.age(row.committed, row.latest, cycle.now)
            _add(errors.against_now, row.age, then)
        if not truth.was_committed(row.group, row.place, row.committed, cycle.earliest, cycle.latest):
            errors.wrong_commits.append(row)


def _add(errors: list[float], told: float, really: float) -> None:
    # A drained partition has no age to be wrong about: zeros would only dilute the percentiles.
    if told or really:
        errors.append(abs(told - really))


def measure(subject: Subject, idle: Filler, traffic: LiveTraffic, settings: Settings) -> Figures:
    """Scrape once a second over the settings' cycles, and hold every time lag against the truth."""
    idle.reset()
    kinds = {
        "idle": (idle.workload, idle_truth(idle.workload, idle.base_ms), Errors()),
        "live": (traffic.workload, traffic.truth, Errors()),
    }
    seen: set[float] = set()
    with start(subject, settings) as process:
        begin = time.monotonic() + _SETTLE_CYCLES * settings.poll_interval
        end = begin + settings.cycles * settings.poll_interval
        while time.monotonic() < end:
            time.sleep(1.0)
            process.check()
            traffic.check()
            scraped = time.time()
            with contextlib.suppress(OSError, ScrapeError):
                body = fetch(subject)
                if time.monotonic() < begin:
                    continue
                cycle = CycleTime.of(body, subject.dialect)
                rows = read_rows(body, subject.dialect)
                for workload, truth, errors in kinds.values():
                    mine = [row for row in rows if row.group.startswith(workload.group_prefix)]
                    fresh = cycle if cycle is not None and cycle.now not in seen else None
                    judge(mine, truth, errors, scraped=scraped, cycle=fresh)
                if cycle is not None:
                    seen.add(cycle.now)
    figures: Figures = {"cycles_seen": len(seen)}
    for kind, (_, _, errors) in kinds.items():
        figures |= errors.figures(kind)
    worst = figures["live_scrape_p99_s"]
    figures["live_scrape_beyond_poll_s"] = None if worst is None else worst - settings.poll_interval
    return figures


def _place(labels: exposition.Labels) -> Place:
    return labels["topic"], int(labels["partition"])
