from __future__ import annotations

import pytest
from benchmarks.figures import Figures
from benchmarks.verdict import judge


def _by_title(workload: str, ours: Figures, peer: Figures | None, mode: str = "message") -> dict[str, object]:
    return {line.title: (line.value, line.passed) for line in judge(workload, mode, ours, peer)}


def test_the_cold_cycle_is_held_against_the_peers_steady_cycle() -> None:
    lines = _by_title("L", {"cold_cycle_s": 1.3}, {"cold_cycle_s": 9.0, "steady_cycle_s": 1.0})

    assert (1.3, True) == lines["cycle, cold / its cycle"]


@pytest.mark.parametrize(("ours", "passed"), [(10.0, True), (10.01, False)])
def test_a_tenth_of_the_peers_scrape_is_the_most(ours: float, passed: bool) -> None:
    lines = _by_title("L", {"scrape_p50_ms": ours}, {"scrape_p50_ms": 100.0})

    assert (pytest.approx(ours / 100), passed) == lines["scrape p50, ms"]


def test_a_ratio_without_a_peer_was_not_measured() -> None:
    assert (None, None) == _by_title("L", {"steady_cycle_s": 0.1}, None)["cycle, steady"]


@pytest.mark.parametrize(("share", "passed"), [(1.0, True), (0.9999, False)])
def test_one_row_without_a_time_lag_fails(share: float, passed: bool) -> None:
    lines = _by_title("XL", {"time_lag_share": share}, None)

    assert (share, passed) == lines["lagging rows with a time lag at once"]


def test_the_small_cluster_and_time_lag_off_have_limits_of_their_own() -> None:
    assert ["resident, MB", "up, s", "scrape p50, ms"] == list(_by_title("small", {}, None))
    assert (99.0, True) == _by_title("L", {"resident_mb": 99.0}, None, "off")["resident, MB"]
    assert (100.0, False) == _by_title("L", {"resident_mb": 100.0}, None, "off")["resident, MB"]


def test_a_workload_without_limits_has_no_verdict() -> None:
    assert [] == judge("own", "message", {"resident_mb": 1.0}, None)
