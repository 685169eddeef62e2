"""Which tests run where."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from stack import ROOT


def collected(*arguments: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def elsewhere() -> list[str]:
    (markers,) = re.findall(r"^ELSEWHERE := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return str(markers).split(" or ")


def test_a_test_is_part_of_make_test_unless_its_folder_is_called_like_what_it_needs() -> None:
    there = collected("-m", f"not ({' or '.join(elsewhere())})")
    folders = {line.split("/")[1] for line in there.splitlines() if line.startswith("tests/")}
    assert {"broker", "program", "unit"} <= folders
    assert set() == folders & set(elsewhere())


def test_what_is_no_part_of_make_test_has_a_target_of_its_own() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for marker in elsewhere():
        recipe = makefile.partition(f"\ntest-{marker}:")[2].partition("\n\n")[0]
        assert f"-m {marker} " in recipe, marker


def test_on_a_kafka_of_ones_own_the_tests_of_other_versions_are_left_out_and_a_line_says_so() -> None:
    own = "localhost:9092"
    without = collected("tests/broker/test_contract.py")
    told = collected("tests/broker/test_contract.py", KLAG_TEST_BOOTSTRAP=own)
    assert "[oldest_kafka]" in without
    assert "[oldest_kafka]" not in told
    assert without.count("[kafka]") == told.count("[kafka]") > 0
    assert f"KLAG_TEST_BOOTSTRAP={own}: tests on other versions of Kafka are left out" in told
    assert "KLAG_TEST_BOOTSTRAP" not in without
