"""A chart of the figures that were compared; needs matplotlib, which nothing else here does."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from benchmarks.scenarios import Outcome

_PANELS = (
    ("cycle, s", (("cold", "cold_cycle_s"), ("steady", "steady_cycle_s"), ("10% moving", "moving_cycle_s"))),
    ("scrape p50, ms", (("plain", "scrape_p50_ms"), ("gzip", "gzip_p50_ms"))),
    ("8 scrapes at once, ms", (("p50", "at_once_p50_ms"), ("p99", "at_once_p99_ms"))),
    ("memory, MB", (("resident", "resident_mb"), ("peak", "peak_mb"))),
    ("CPU, s per minute", (("steady", "cpu_s_per_min"),)),
    ("start, s", (("up", "up_s"), ("first lag sample", "first_sample_s"))),
)
_COLOURS = ("#1b6ca8", "#d1495b", "#edae49", "#66a182", "#8d6a9f")


class ChartUnavailableError(RuntimeError):
    """matplotlib is not installed."""


def draw(outcome: Outcome, path: Path) -> None:
    """One panel for each kind of figure, one bar for each subject; what was not measured has no bar."""
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        plots: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError as exc:
        raise ChartUnavailableError(
            "no chart: install matplotlib (the bench group of pyproject.toml)"
        ) from exc
    medians = outcome.medians
    figure, axes = plots.subplots(2, 3, figsize=(13, 7.5), layout="constrained")
    for axis, (title, bars) in zip(axes.flat, _PANELS, strict=True):
        width = 0.8 / max(1, len(medians))
        for index, (subject, figures) in enumerate(medians.items()):
            heights = [(at, figures.get(name)) for at, (_, name) in enumerate(bars)]
            known = [(at + index * width, height) for at, height in heights if height is not None]
            drawn = axis.bar(
                [at for at, _ in known],
                [height for _, height in known],
                width,
                label=subject,
                color=_COLOURS[index % len(_COLOURS)],
            )
            axis.bar_label(drawn, fmt="%.3g", fontsize=8, padding=2)
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xticks(
            [at + width * (len(medians) - 1) / 2 for at in range(len(bars))], [t for t, _ in bars]
        )
        axis.margins(y=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(medians)), frameon=False)
    figure.suptitle(
        f"Workload {outcome.workload['name']}, {outcome.machine['cores']} cores, "
        f"medians of {outcome.settings['repeats']}"
    )
    figure.savefig(path, dpi=120)
    plots.close(figure)
