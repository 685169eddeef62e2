"""One exporter, once: from its start over steady and moving cycles to its stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from benchmarks import exposition
from benchmarks.cycles import Cycles, coverage, last_cycle
from benchmarks.figures import Figures, median
from benchmarks.fill import Filler
from benchmarks.process import ExporterProcess, running
from benchmarks.scrape import Health, ScrapeError, asking_health, fetch, scrape_figures
from benchmarks.sockets import InboundBytes
from benchmarks.subjects import Subject, config_text

HEALTH_CYCLES = 3


@attrs.frozen
class Settings:
    """How a trial is run; `whitelist` is the expression for the workload's groups and topics."""

    bootstrap: str
    ports: tuple[int, ...]
    folder: Path
    whitelist: str = ".*"
    poll_interval: float = 10.0
    cycles: int = 10
    start_limit: float = 90.0
    say: Callable[[str], None] = print


def run_trial(subject: Subject, filler: Filler, settings: Settings) -> Figures:
    """All figures of one run; ExporterEndedError where the exporter ends early."""
    filler.reset()
    with contextlib.ExitStack() as stack:
        inbound = stack.enter_context(InboundBytes(settings.ports))
        finish_health = stack.enter_context(asking_health(subject))
        process = stack.enter_context(start(subject, settings))
        trial = Trial(subject, filler, settings, process, inbound)
        trial.cold(finish_health)
        trial.steady()
        trial.figures |= scrape_figures(subject, settings.poll_interval)
        trial.moving()
        trial.slowest_health()
        trial.figures["peak_mb"] = process.peak_mb()
    trial.figures["stop_s"] = process.stop_seconds
    return trial.figures


def warm_up(subject: Subject, settings: Settings) -> None:
    """Let the exporter ask its questions once, unmeasured: a young JVM answers the first ones slowly."""
    with start(subject, settings) as process:
        first_body(subject, process, settings)


def first_body(subject: Subject, process: ExporterProcess, settings: Settings) -> bytes | None:
    """The first scrape with a lag sample; None where there was none in time."""
    while time.monotonic() < process.started + settings.start_limit:
        process.check()
        with contextlib.suppress(OSError, ScrapeError):
            body = fetch(subject)
            if exposition.has_sample(body, subject.dialect.lag):
                return body
        time.sleep(0.05)
    settings.say(f"  {subject.title}: no lag sample within {settings.start_limit:.0f} s")
    return None


def start(subject: Subject, settings: Settings) -> contextlib.AbstractContextManager[ExporterProcess]:
    """The exporter on the settings' broker, with a configuration written for it."""
    config = settings.folder / f"{subject.title}.toml"
    text = config_text(subject, settings.bootstrap, settings.poll_interval, settings.whitelist)
    config.write_text(text, encoding="utf-8")
    command = subject.arguments(config, settings.bootstrap)
    return running(subject.title, command, settings.folder / f"{subject.title}.log")


@attrs.define
class Trial:
    """The steps of one run, in the order in which they are called."""

    subject: Subject
    filler: Filler
    settings: Settings
    process: ExporterProcess
    inbound: InboundBytes
    figures: Figures = attrs.field(factory=dict)
    _first_cycle: float = 0.0  # when it started, monotonic

    def cold(self, finish_health: Callable[[], Health]) -> None:
        """Start to the first lag sample, and what that says."""
        body = first_body(self.subject, self.process, self.settings)
        arrived = time.monotonic()
        received = self.inbound.total()
        self._first_cycle = self.process.started
        if body is not None:
            self.figures["first_sample_s"] = arrived - self.process.started
            cycle = last_cycle(body, self.subject.dialect)
            if cycle is not None:
                self._first_cycle = arrived - cycle.duration
                self.figures["cold_cycle_s"] = cycle.duration
                self.figures |= {f"cold_phase_{k}_s": v for k, v in cycle.phases.items()}
            self.figures |= coverage(body, self.subject.dialect, self.filler.workload, self.filler.base_ms)
            self.figures["samples"] = exposition.count_samples(body)
        self.figures["cold_inbound_bytes"] = received
        self._sleep_to_boundary()
        health = finish_health()
        self.figures["up_s"] = None if health.first is None else health.first - self.process.started
        self.figures["health_cold_ms"] = health.slowest_ms

    def steady(self) -> None:
        """Nothing moves: memory, CPU and cycles, with one scrape in each poll interval."""
        self._sleep_to_boundary()
        begun, cpu = time.monotonic(), self.process.cpu_seconds()
        body = self._cycles("steady", self.settings.cycles, moving=False)
        ended = time.monotonic()
        self.figures["cpu_s_per_min"] = (self.process.cpu_seconds() - cpu) / (ended - begun) * 60
        self.figures["resident_mb"] = median(self.process.resident_between(begun, ended))
        if body is not None:
            found = coverage(body, self.subject.dialect, self.filler.workload, self.filler.base_ms)
            self.figures["time_lag_share_later"] = found.get("time_lag_share")
        received, cycles = self.figures["steady_inbound_bytes"], self.settings.cycles
        cold = self.figures["cold_inbound_bytes"]
        if self._reads() and received is not None and cold is not None:
            # An upper bound: what only the first cycle asks besides records is counted as records.
            of_reads = cold - received / cycles
            self.figures["cold_bytes_per_read"] = of_reads / self.filler.workload.distinct_offsets

    def moving(self) -> None:
        """One commit in ten moves between two cycles."""
        self._sleep_to_boundary()
        self._cycles("moving", self.settings.cycles, moving=True)
        more, less = self.figures["moving_inbound_bytes"], self.figures["steady_inbound_bytes"]
        moved = self.figures["moving_offsets"]
        if self._reads() and more is not None and less is not None and moved:
            self.figures["moving_bytes_per_read"] = (more - less) / moved

    def slowest_health(self) -> None:
        """/health through some more moving cycles, in a window of its own: asking costs the exporter CPU."""
        with asking_health(self.subject) as finish_health:
            self._cycles("health", HEALTH_CYCLES, moving=True)
            health = finish_health()
        slowest = [ms for ms in (health.slowest_ms, self.figures["health_cold_ms"]) if ms is not None]
        self.figures["health_max_ms"] = max(slowest, default=None)
        self.figures["health_failures"] = health.failures

    def _reads(self) -> bool:
        return self.subject.mode == "message" and bool(self.figures.get("time_lag_share"))

    def _cycles(self, name: str, count: int, *, moving: bool) -> bytes | None:
        """So many cycles, each scraped once in the pause after it; returns the last body."""
        found = Cycles()
        body: bytes | None = None
        before = self.inbound.total()
        moved = 0
        for _ in range(count):
            if moving:
                moved += self.filler.move()
            self._sleep_to_boundary()
            self.process.check()
            try:
                body = fetch(self.subject)
            except (OSError, ScrapeError) as exc:
                self.settings.say(f"  {self.subject.title}: a scrape failed: {exc}")
                continue
            found.add(body, self.subject.dialect)
        after = self.inbound.total()
        self.figures |= found.figures(name)
        self.figures[f"{name}_inbound_bytes"] = None if after is None or before is None else after - before
        if moving:
            self.figures[f"{name}_offsets"] = moved
        return body

    def _sleep_to_boundary(self) -> None:
        """To the pause between two cycles: a cycle starts every poll interval, and is over by 0.8 of it."""
        interval = self.settings.poll_interval
        into = (time.monotonic() - self._first_cycle) % interval
        wait = 0.8 * interval - into
        time.sleep(wait if wait > 0.01 else wait + interval)
