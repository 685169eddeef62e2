"""The queries that the documents show are right, and name metrics that are served."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from klag_trio.exposition.families import FAMILIES

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "docs" / name for name in ("time-lag.md", "compaction-detection.md")]
SERVED = {family.name for family in FAMILIES}


def queries(document: Path) -> list[str]:
    return re.findall(r"```promql\n(.*?)```", document.read_text(), re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.stem)
def test_prometheus_takes_the_queries_as_rules(document: Path, tmp_path: Path) -> None:
    rules = [{"alert": f"Example{n}", "expr": query} for n, query in enumerate(queries(document))]
    assert rules
    path = tmp_path / "rules.yml"
    # JSON is YAML too.
    path.write_text(json.dumps({"groups": [{"name": "examples", "rules": rules}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.stem)
def test_every_metric_that_is_named_is_served(document: Path) -> None:
    named = set(re.findall(r"\b(?:kafka_consumergroup|kafka_lag_exporter|klag)_\w+", document.read_text()))
    assert set() == named - SERVED
