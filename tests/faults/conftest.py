"""The clusters that the faults are done to, and the record of what was measured."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from tests.faults.estate import POLL, Estate, estate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.checks import Measured

RECORD = Path(".cache/faults/faults.json")


@pytest.fixture(scope="session")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with estate(tmp_path_factory.mktemp("estate")) as made:
        yield made


@pytest.fixture(scope="session")
def record() -> Iterator[list[Measured]]:
    """What was measured; written down in the end for docs/reliability.md."""
    found: list[Measured] = []
    yield found
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    today = {"date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "poll_interval": POLL}
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    # A run of some of the faults renews their figures among those of the same day.
    known = kept["faults"] if kept and {**kept, **today} == kept else []
    figures = {fault["fault"]: fault for fault in [*known, *map(attrs.asdict, found)]}
    RECORD.write_text(json.dumps({**today, "faults": list(figures.values())}, indent=1) + "\n")
