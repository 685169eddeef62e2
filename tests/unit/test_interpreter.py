"""In a process of its own, since the settings are those of the whole interpreter."""

from __future__ import annotations

import subprocess
import sys

_FULL_COLLECTIONS = """
import gc
from klag_trio.interpreter import stay_responsive
if {responsive}:
    stay_responsive()
before = gc.get_stats()[2]["collections"]
kept = [{{"row": number}} for number in range(400_000)]
print(gc.get_stats()[2]["collections"] - before)
"""


def full_collections(*, responsive: bool) -> int:
    code = _FULL_COLLECTIONS.format(responsive=responsive)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


def test_a_large_report_is_made_without_a_full_collection() -> None:
    assert full_collections(responsive=False) > 0
    assert 0 == full_collections(responsive=True)
