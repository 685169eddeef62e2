from __future__ import annotations

import json
from pathlib import Path

from benchmarks import report
from benchmarks.scenarios import Outcome

OUTCOME = Outcome(
    name="L",
    heading="Workload L",
    machine={
        "date": "2026-01-02",
        "cores": 2,
        "memory_gib": 4,
        "kernel": "6.1",
        "python": "3.11",
        "load_average": 0.25,
    },
    repeats={
        "klag-trio": [{"resident_mb": 80.0, "plain_bytes": 4_900_000}, {"resident_mb": 90.0}],
        "klag-exporter": [{"resident_mb": 100.0, "plain_bytes": None}],
    },
)


def test_the_table_has_medians_side_by_side_and_ours_over_the_peers() -> None:
    rows = [line.split() for line in report.side_by_side(OUTCOME.medians).splitlines()]

    assert ["klag-trio", "klag-exporter", "klag-trio", "/", "klag-exporter"] == rows[0]
    assert ["resident,", "MB", "85", "100", "0.85"] in rows
    assert ["bytes", "plain", "4,900,000", "-", "-"] in rows


def test_without_a_peer_there_is_no_ratio() -> None:
    heading = report.side_by_side({"klag-trio": {"resident_mb": 80.0}}).splitlines()[0]

    assert ["klag-trio"] == heading.split()


def test_the_verdict_says_pass_fail_and_not_measured() -> None:
    lines = report.verdicts(OUTCOME)["klag-trio"]
    text = report.verdict_text("klag-trio", lines)

    assert "resident, MB" in text
    assert [True] == [line.passed for line in lines if line.title == "resident, MB"]
    assert {"pass", "measured"} == {line.split()[-1] for line in text.splitlines()[2:]}


def test_a_peer_alone_has_no_verdict() -> None:
    assert {} == report.verdicts(
        Outcome("L", "Workload L", OUTCOME.machine, {"klag-exporter": [{"resident_mb": 1.0}]})
    )


def test_what_was_written_as_json_reads_back_as_it_was(tmp_path: Path) -> None:
    as_text, as_json = report.write(OUTCOME, tmp_path, "latency")

    assert OUTCOME == report.read(as_json)
    assert report.text(OUTCOME) == as_text.read_text()
    assert 85.0 == json.loads(as_json.read_text())["medians"]["klag-trio"]["resident_mb"]


def test_numbers_have_three_digits_that_count() -> None:
    assert ["-", "0", "0.0123", "12.3", "123", "1,235", "4,900,000"] == [
        report.number(value) for value in (None, 0.0, 0.012345, 12.345, 123.4, 1234.9, 4_900_000)
    ]
