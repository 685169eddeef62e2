"""Which exporter runs when: alternating order, repeats, and medians over them."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.accuracy import IDLE, measure
from benchmarks.figures import Figures, medians
from benchmarks.fill import Filler
from benchmarks.live import DELAYS, RATES, LiveTraffic, live_workload
from benchmarks.process import ExporterEndedError
from benchmarks.scrape import ScrapeError
from benchmarks.subjects import Subject
from benchmarks.trial import Settings, run_trial, warm_up
from benchmarks.workload import Workload

ACCURACY = "accuracy"


@attrs.frozen
class Outcome:
    """What one run of the harness measured."""

    name: str  # of the workload, or ACCURACY
    heading: str
    machine: dict[str, Any]
    repeats: dict[str, list[Figures]]  # title of the subject -> figures of each repeat

    @property
    def medians(self) -> dict[str, Figures]:
        return {title: medians(figures) for title, figures in self.repeats.items()}


def latency(subjects: Sequence[Subject], workload: Workload, settings: Settings, repeats: int) -> Outcome:
    """Fill the broker with the workload and measure every subject on it."""
    filler = Filler(settings.bootstrap, workload)
    filler.fill(settings.say)
    settings = attrs.evolve(settings, whitelist=workload.whitelist)
    for subject in subjects:
        settings.say(f"{time.strftime('%H:%M:%S')} warming up the broker: {subject.title}")
        with contextlib.suppress(ExporterEndedError):  # told when it is measured
            warm_up(subject, settings)
    found = in_turn(subjects, lambda subject: run_trial(subject, filler, settings), repeats, settings.say)
    heading = (
        f"Workload {workload.name}: {workload.topics} topics x {workload.partitions} partitions, "
        f"{workload.records} records each; {workload.groups} groups on {workload.group_partitions} of them "
        f"each, {workload.lagging_group_partitions} group-partitions lagging, "
        f"{workload.distinct_offsets} distinct offsets.\n{_how(settings, repeats)}"
    )
    return Outcome(workload.name, heading, machine(), found)


def accuracy(subjects: Sequence[Subject], settings: Settings, repeats: int) -> Outcome:
    """Hold the time lags of every subject against the truth, on idle topics and beside live traffic."""
    idle = Filler(settings.bootstrap, IDLE)
    idle.fill(settings.say)
    live = live_workload()
    settings = attrs.evolve(settings, whitelist=f"^bench-({IDLE.name}|{live.name})-.*$")
    with LiveTraffic(settings.bootstrap, live) as traffic:
        found = in_turn(subjects, lambda s: measure(s, idle, traffic, settings), repeats, settings.say)
    heading = (
        f"Accuracy: {IDLE.partition_count} idle partitions; {live.partition_count} live ones with "
        f"{', '.join(f'{rate:g}' for rate in RATES)} records/s, whose groups commit every second and stay "
        f"{', '.join(f'{delay:g}' for delay in DELAYS)} s behind.\n{_how(settings, repeats)}"
    )
    return Outcome(ACCURACY, heading, machine(), found)


def in_turn(
    subjects: Sequence[Subject], run: Callable[[Subject], Figures], repeats: int, say: Callable[[str], None]
) -> dict[str, list[Figures]]:
    """Every subject `repeats` times, alone on the broker, in an order that turns round each time."""
    found: dict[str, list[Figures]] = {subject.title: [] for subject in subjects}
    for repeat in range(repeats):
        order = subjects if repeat % 2 == 0 else list(reversed(subjects))
        for subject in order:
            say(f"{time.strftime('%H:%M:%S')} repeat {repeat + 1} of {repeats}: {subject.title}")
            try:
                found[subject.title].append(run(subject))
            except (ExporterEndedError, ScrapeError) as exc:
                say(f"  not measured: {exc}")
    return found


def machine() -> dict[str, Any]:
    """Where it was measured, and how busy that was: figures taken beside other work are not quotable."""
    memory = Path("/proc/meminfo").read_text().splitlines()[0].split()[1]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / 1024 / 1024),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[1],
    }


def _how(settings: Settings, repeats: int) -> str:
    return (
        f"Medians of {repeats} in alternating order, {settings.cycles} cycles each, "
        f"a poll every {settings.poll_interval:g} s."
    )
