"""A chart of the figures that were compared; needs matplotlib, which nothing else here does."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Figures
from benchmarks.scenarios import ACCURACY, Outcome

Bars = tuple[tuple[str, str], ...]
_PANELS: tuple[tuple[str, Bars], ...] = (
    ("cycle, s", (("cold", "cold_cycle_s"), ("steady", "steady_cycle_s"), ("10% moving", "moving_cycle_s"))),
    ("scrape p50, ms", (("plain", "scrape_p50_ms"), ("gzip", "gzip_p50_ms"))),
    ("8 scrapes at once, ms", (("p50", "at_once_p50_ms"), ("p99", "at_once_p99_ms"))),
    ("memory, MB", (("resident", "resident_mb"), ("peak", "peak_mb"))),
    ("CPU, s per minute", (("steady", "cpu_s_per_min"),)),
    ("start, s", (("up", "up_s"), ("first lag sample", "first_sample_s"))),
)
_ACCURACY_PANELS: tuple[tuple[str, Bars], ...] = tuple(
    (
        f"{kind} topics, error {words}, s",
        tuple((share, f"{kind}_{against}_{share}_s") for share in ("p50", "p99", "max")),
    )
    for kind in ("idle", "live")
    for against, words in (("now", "against its now"), ("scrape", "at the scrape"))
)
_COLOURS = ("#1b6ca8", "#d1495b", "#edae49", "#66a182", "#8d6a9f")


class ChartUnavailableError(RuntimeError):
    """matplotlib is not installed."""


def draw(outcome: Outcome, path: Path) -> None:
    """One panel for each kind of figure, one bar for each subject; what was not measured has no bar."""
    try:
        importlib.import_module("matplotlib").use("Agg")
        plots: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError as exc:
        raise ChartUnavailableError("no chart without matplotlib (pyproject.toml's bench group)") from exc
    medians = outcome.medians
    panels = _ACCURACY_PANELS if outcome.name == ACCURACY else _PANELS
    figure, axes = plots.subplots(2, len(panels) // 2, figsize=(13, 7.5), layout="constrained")
    for axis, (title, bars) in zip(axes.flat, panels, strict=True):
        _panel(axis, title, bars, medians)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(medians)), frameon=False)
    repeats = max(map(len, outcome.repeats.values()), default=0)
    figure.suptitle(f"{outcome.name}, {outcome.machine['cores']} cores, medians of {repeats}")
    figure.savefig(path, dpi=120)
    plots.close(figure)


def _panel(axis: Any, title: str, bars: Bars, medians: Mapping[str, Figures]) -> None:
    width = 0.8 / max(1, len(medians))
    for index, (subject, figures) in enumerate(medians.items()):
        known = [
            (at + index * width, height)
            for at, (_, name) in enumerate(bars)
            if (height := figures.get(name)) is not None
        ]
        drawn = axis.bar(
            [at for at, _ in known],
            [height for _, height in known],
            width,
            label=subject,
            color=_COLOURS[index % len(_COLOURS)],
        )
        axis.bar_label(drawn, fmt="%.3g", fontsize=8, padding=2)
    middle = width * (len(medians) - 1) / 2
    axis.set_title(title, loc="left", fontsize=11)
    axis.set_xticks([at + middle for at in range(len(bars))], [name for name, _ in bars])
    axis.margins(y=0.15)
    axis.spines[["top", "right"]].set_visible(False)
