"""What klag-trio has to reach, and whether it did."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import attrs

from benchmarks.figures import Figures, ratio

_HOLDS = {"<=": operator.le, "<": operator.lt, ">=": operator.ge}


@attrs.frozen
class Limit:
    """One line of the verdict: a figure of ours, alone or divided by a figure of the peer's."""

    title: str
    ours: str
    limits: Mapping[str, float]  # by workload
    against: str | None = None
    holds: str = "<="
    mode: str = "message"


@attrs.frozen
class Line:
    """One judged figure; `passed` is None where it was not measured."""

    title: str
    ours: float | None
    peer: float | None
    value: float | None
    limit: str
    passed: bool | None


LIMITS = (
    Limit("cycle, cold / its cycle", "cold_cycle_s", {"L": 1.3, "XL": 1.5}, "steady_cycle_s"),
    Limit("cycle, steady", "steady_cycle_s", {"L": 0.7, "XL": 0.7}, "steady_cycle_s"),
    Limit("cycle, 10% moving", "moving_cycle_s", {"L": 0.9, "XL": 1.0}, "moving_cycle_s"),
    Limit("lagging rows with a time lag at once", "time_lag_share", {"L": 1, "XL": 1}, holds=">="),
    Limit("scrape p50, ms", "scrape_p50_ms", {"L": 0.1, "XL": 0.1}, "scrape_p50_ms"),
    Limit("8 scrapes at once p99, ms", "at_once_p99_ms", {"L": 0.167, "XL": 0.167}, "at_once_p99_ms"),
    Limit("resident, MB", "resident_mb", {"L": 0.9, "XL": 0.8}, "resident_mb"),
    Limit("peak, MB", "peak_mb", {"L": 0.6, "XL": 0.35}, "peak_mb"),
    Limit("CPU, s per minute", "cpu_s_per_min", {"L": 1.0, "XL": 1.0}, "cpu_s_per_min"),
    Limit("start to first lag sample, s", "first_sample_s", {"L": 3, "XL": 10}, holds="<"),
    Limit("slowest /health, ms", "health_max_ms", {"L": 50, "XL": 100}),
    Limit("inbound bytes per read, cold", "cold_bytes_per_read", {"L": 32768, "XL": 32768}),
    Limit("inbound bytes per read, moving", "moving_bytes_per_read", {"L": 32768, "XL": 32768}),
    Limit("resident, MB", "resident_mb", {"small": 60}, holds="<"),
    Limit("up, s", "up_s", {"small": 1}, holds="<"),
    Limit("scrape p50, ms", "scrape_p50_ms", {"small": 3}, holds="<"),
    Limit("idle topics, p99 against now, s", "idle_now_p99_s", {"accuracy": 0.001}),
    Limit("idle topics, max against now, s", "idle_now_max_s", {"accuracy": 0.001}),
    Limit("idle topics, lagging rows without a value", "idle_without_value", {"accuracy": 0}),
    Limit("live topics, p99 against now, s", "live_now_p99_s", {"accuracy": 0.05}),
    Limit("live topics, p99 at scrape beyond a poll, s", "live_scrape_beyond_poll_s", {"accuracy": 0.5}),
    Limit("live topics, lagging rows without a value", "live_without_value", {"accuracy": 0}),
    Limit("cycle, cold, s", "cold_cycle_s", {"L": 1.5}, holds="<", mode="off"),
    Limit("cycle, steady, s", "steady_cycle_s", {"L": 1.5}, holds="<", mode="off"),
    Limit("scrape p50, ms", "scrape_p50_ms", {"L": 10}, holds="<", mode="off"),
    Limit("resident, MB", "resident_mb", {"L": 100}, holds="<", mode="off"),
    Limit("slowest /health, ms", "health_max_ms", {"L": 100}, holds="<", mode="off"),
)


def judge(workload: str, mode: str, ours: Figures, peer: Figures | None) -> list[Line]:
    """The lines that hold for this workload and mode of ours, in their order."""
    return [
        _line(limit, limit.limits[workload], ours, peer)
        for limit in LIMITS
        if workload in limit.limits and limit.mode == mode
    ]


def _line(limit: Limit, bound: float, ours: Figures, peer: Figures | None) -> Line:
    mine = ours.get(limit.ours)
    theirs = peer.get(limit.against or limit.ours) if peer is not None else None
    value = ratio(mine, theirs) if limit.against else mine
    passed = None if value is None else bool(_HOLDS[limit.holds](value, bound))
    return Line(limit.title, mine, theirs, value, f"{limit.holds} {bound:g}", passed)
