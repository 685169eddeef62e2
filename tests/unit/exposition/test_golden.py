"""Two small clusters as they are served, byte for byte, and what promtool says of it.

After a change that is meant, write the files anew and read the diff:

    KLAG_UPDATE_GOLDEN=1 .venv/bin/pytest tests/unit/exposition/test_golden.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.unit.exposition import fixed
from tests.unit.exposition.reading import FORMATS, body_in

from klag_trio.exposition.text import Format
from klag_trio.services.runtime_metrics import RuntimeMetrics

GOLDEN = Path(__file__).parents[2] / "golden"
FILES: dict[Format, Path] = {
    "text": GOLDEN / "metrics.txt",
    "openmetrics": GOLDEN / "metrics.openmetrics.txt",
}

# klag-exporter's names and types, which its users' dashboards rely on.
INHERITED_COMPLAINTS = {
    "kafka_consumergroup_poll_time_ms metric names should not contain abbreviated units",
    'kafka_lag_exporter_compaction_detected_total non-counter metrics should not have "_total" suffix',
    'kafka_lag_exporter_data_loss_partitions_total non-counter metrics should not have "_total" suffix',
}


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_served_is_what_the_golden_file_holds(form: Format) -> None:
    served = b"".join(body_in(fixed.bodies(), form).chunks)
    if os.environ.get("KLAG_UPDATE_GOLDEN"):
        FILES[form].write_bytes(served)
    assert FILES[form].read_bytes() == served


def complaints(content: bytes) -> set[str]:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install prometheus"
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=content, capture_output=True, check=False, timeout=60
    )
    # 0: nothing to say; 3: it reads well but there are remarks; else it does not read.
    assert checked.returncode in (0, 3), checked.stderr.decode()
    return set((checked.stdout + checked.stderr).decode().splitlines())


def test_promtool_complains_only_of_inherited_names() -> None:
    assert INHERITED_COMPLAINTS == complaints(FILES["text"].read_bytes())


def test_promtool_complains_of_nothing_that_prometheus_client_adds() -> None:
    content = b"".join(fixed.bodies(RuntimeMetrics().render()).text.chunks)
    assert b"process_resident_memory_bytes" in content
    assert INHERITED_COMPLAINTS == complaints(content)
