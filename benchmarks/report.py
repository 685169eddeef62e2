"""What was measured as text, JSON and, where matplotlib is installed, a chart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import cattrs

from benchmarks.figures import Figures, ratio
from benchmarks.scenarios import Outcome
from benchmarks.verdict import Line, judge

OURS = "klag-trio"
_FIGURES = {
    "up_s": "up (first 200 on /health), s",
    "first_sample_s": "start to first lag sample, s",
    "cold_cycle_s": "cycle, cold, s",
    "steady_cycle_s": "cycle, steady, s",
    "moving_cycle_s": "cycle, 10% moving, s",
    "time_lag_share": "lagging rows with a time lag, first cycle",
    "time_lag_share_later": "lagging rows with a time lag, later",
    "time_lag_error_max_s": "largest error of a time lag, first cycle, s",
    "wrong_lags": "rows with a wrong lag, first cycle",
    "scrape_p50_ms": "scrape p50, ms",
    "scrape_p99_ms": "scrape p99, ms",
    "gzip_p50_ms": "gzip scrape p50, ms",
    "gzip_p99_ms": "gzip scrape p99, ms",
    "at_once_p50_ms": "8 scrapes at once p50, ms",
    "at_once_p99_ms": "8 scrapes at once p99, ms",
    "scrape_failures": "scrapes that failed",
    "hollow_scrapes": "scrapes without the samples",
    "samples": "samples",
    "plain_bytes": "bytes plain",
    "gzip_bytes": "bytes gzipped",
    "health_max_ms": "slowest /health, ms",
    "health_failures": "/health answers that failed",
    "resident_mb": "resident, MB",
    "peak_mb": "peak, MB",
    "cpu_s_per_min": "CPU, s per minute",
    "cold_inbound_bytes": "inbound bytes, start to first sample",
    "steady_inbound_bytes": "inbound bytes, steady cycles",
    "moving_inbound_bytes": "inbound bytes, moving cycles",
    "cold_bytes_per_read": "inbound bytes per read, cold",
    "moving_bytes_per_read": "inbound bytes per read, moving",
    "steady_cycles_seen": "cycles seen, steady",
    "moving_cycles_seen": "cycles seen, moving",
    "stop_s": "SIGTERM to its end, s",
    "idle_rows": "idle topics, lagging rows",
    "idle_without_value": "idle topics, lagging rows without a value",
    "idle_wrong_commits": "idle topics, commits that never were",
    "live_rows": "live topics, lagging rows",
    "live_without_value": "live topics, lagging rows without a value",
    "live_wrong_commits": "live topics, commits that never were",
    **{
        f"{kind}_{against}_{share}_s": f"{kind} topics, error {words}, {share}, s"
        for kind in ("idle", "live")
        for against, words in (("now", "against its now"), ("scrape", "at the scrape"))
        for share in ("p50", "p99", "max")
    },
}


def text(outcome: Outcome) -> str:
    """Side by side, with ratios, and the verdict."""
    parts = [_heading(outcome), side_by_side(outcome.medians)]
    parts += [verdict_text(title, lines) for title, lines in verdicts(outcome).items()]
    return "\n\n".join(parts) + "\n"


def side_by_side(medians: Mapping[str, Figures]) -> str:
    """One row for every figure that anybody has; the ratio is ours over the first peer's.

    The JSON holds the others: phases of moving cycles, and the window in which /health is asked.
    """
    titles = list(medians)
    peer = _first_peer(titles)
    compared = titles[0] if peer is not None and titles[0].startswith(OURS) else None
    rows = [["", *titles, *([f"{compared} / {peer}"] if compared else [])]]
    phases = sorted(
        {
            name
            for figures in medians.values()
            for name in figures
            if name.startswith(("cold_phase_", "steady_phase_"))
        }
    )
    for name in (*_FIGURES, *phases):
        values = [medians[title].get(name) for title in titles]
        if all(value is None for value in values):
            continue
        row = [_FIGURES.get(name, name.replace("_phase_", ", phase ")), *map(number, values)]
        if compared and peer:
            row.append(number(ratio(medians[compared].get(name), medians[peer].get(name))))
        rows.append(row)
    return table(rows)


def verdicts(outcome: Outcome) -> dict[str, list[Line]]:
    """For each of our own subjects the lines that its workload and mode have limits for."""
    medians = outcome.medians
    peer = _first_peer(list(medians))
    found = {}
    for title, figures in medians.items():
        if title.partition("@")[0] != OURS:
            continue
        mode = title.partition("@")[2] or "message"
        found[title] = judge(outcome.name, mode, figures, medians[peer] if peer else None)
    return {title: lines for title, lines in found.items() if lines}


def verdict_text(title: str, lines: Sequence[Line]) -> str:
    words = {True: "pass", False: "FAIL", None: "not measured"}
    rows = [["verdict: " + title, "ours", "peer", "value", "limit", ""]]
    rows += [
        [line.title, *map(number, (line.ours, line.peer, line.value)), line.limit, words[line.passed]]
        for line in lines
    ]
    return table(rows)


def write(outcome: Outcome, folder: Path, name: str) -> list[Path]:
    """NAME.txt and NAME.json."""
    folder.mkdir(parents=True, exist_ok=True)
    as_text, as_json = folder / f"{name}.txt", folder / f"{name}.json"
    as_text.write_text(text(outcome), encoding="utf-8")
    whole = {
        **attrs.asdict(outcome),
        "medians": outcome.medians,
        "verdicts": {
            title: [attrs.asdict(line) for line in lines] for title, lines in verdicts(outcome).items()
        },
    }
    as_json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return [as_text, as_json]


def read(path: Path) -> Outcome:
    """An outcome from the JSON that `write` made."""
    return cattrs.structure(json.loads(path.read_text(encoding="utf-8")), Outcome)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    return "\n".join([lines[0].rstrip(), "-" * len(lines[0]), *(line.rstrip() for line in lines[1:])])


def number(value: float | None) -> str:
    """Three significant digits, whole numbers whole; a dash where nothing was measured."""
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _first_peer(titles: Sequence[str]) -> str | None:
    return next((title for title in titles if title.partition("@")[0] != OURS), None)


def _heading(outcome: Outcome) -> str:
    machine = outcome.machine
    return (
        f"{outcome.heading}\n{machine['date']}: {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}; "
        f"load average at the end {machine['load_average']:.1f}."
    )
