"""What the largest configurations cost, and how much is said about those that are wrong."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from tests.load.largest import TOML, YAML

SECONDS = 5
"""Of a processor, on a machine that does other things too: most take less than 1."""
MEBIBYTES = 200
LINES = 101
CHARACTERS = 100_000


@pytest.mark.parametrize(
    ("kind", "shape"), [*(("TOML", shape) for shape in TOML), *(("YAML", shape) for shape in YAML)]
)
def test_the_largest_configuration_takes_seconds_and_little_memory(kind: str, shape: str) -> None:
    # A process of its own, whose memory is nobody else's.
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.largest", kind, shape],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    found = re.fullmatch(r"([0-9.]+) s, (\d+) MiB, (\d+) lines, (\d+) characters\n", done.stdout)
    assert found is not None
    seconds, mebibytes, lines, characters = map(float, found.groups())
    assert seconds < SECONDS
    assert mebibytes < MEBIBYTES
    assert lines <= LINES
    assert characters < CHARACTERS
