"""Which exporter runs when: alternating order, repeats, and medians over them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.figures import Figures, medians
from benchmarks.fill import Filler
from benchmarks.process import ExporterEndedError
from benchmarks.subjects import Subject
from benchmarks.trial import Settings, run_trial
from benchmarks.workload import Workload


@attrs.frozen
class Outcome:
    """What one run of the harness measured."""

    workload: dict[str, Any]
    machine: dict[str, Any]
    settings: dict[str, Any]
    repeats: dict[str, list[Figures]]  # title of the subject -> figures of each repeat

    @property
    def medians(self) -> dict[str, Figures]:
        return {title: medians(figures) for title, figures in self.repeats.items()}


def side_by_side(subjects: Sequence[Subject], filler: Filler, settings: Settings, repeats: int) -> Outcome:
    """Every subject `repeats` times, alone on the broker, in an order that turns round each time."""
    found: dict[str, list[Figures]] = {subject.title: [] for subject in subjects}
    for repeat in range(repeats):
        order = subjects if repeat % 2 == 0 else list(reversed(subjects))
        for subject in order:
            settings.say(f"{time.strftime('%H:%M:%S')} repeat {repeat + 1} of {repeats}: {subject.title}")
            try:
                found[subject.title].append(run_trial(subject, filler, settings))
            except ExporterEndedError as exc:
                settings.say(f"  {exc}")
    return Outcome(
        workload=describe(filler.workload),
        machine=machine(),
        settings={
            "cycles": settings.cycles,
            "poll_interval_s": settings.poll_interval,
            "repeats": repeats,
            "order": "alternating",
        },
        repeats=found,
    )


def describe(workload: Workload) -> dict[str, Any]:
    return {
        **attrs.asdict(workload),
        "lagging_group_partitions": workload.lagging_group_partitions,
        "distinct_offsets": workload.distinct_offsets,
    }


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
