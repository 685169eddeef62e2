"""The queries that the documents show are right, and name metrics that are served."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from klag_trio.exposition.families import FAMILIES

ROOT = Path(__file__).parents[3]
SERVED = {family.name for family in FAMILIES}
BLOCKS = re.compile(r"```promql([^\n]*)\n(.*?)```", re.DOTALL)
BEFORE = 'title="before"'
"""What was asked of another exporter."""


def queries(document: Path, *, ours: bool = False) -> list[str]:
    found = BLOCKS.findall(document.read_text())
    return [query for title, query in found if not ours or BEFORE not in title]


PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [page for page in PAGES if queries(page)]
MIGRATION = [page for page in DOCUMENTS if page.parent.name == "migration"]
OWN = [page for page in PAGES if page.parent.name != "migration"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.stem)
def test_prometheus_takes_the_queries_as_rules(document: Path, tmp_path: Path) -> None:
    rules = [{"alert": f"Example{n}", "expr": query} for n, query in enumerate(queries(document))]
    path = tmp_path / "rules.yml"
    # JSON is YAML too.
    path.write_text(json.dumps({"groups": [{"name": "examples", "rules": rules}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("document", OWN, ids=lambda document: document.stem)
def test_every_metric_that_is_named_is_served(document: Path) -> None:
    named = set(re.findall(r"\b(?:kafka_consumergroup|kafka_lag_exporter|klag)_\w+", document.read_text()))
    assert set() == named - SERVED


@pytest.mark.parametrize("document", MIGRATION, ids=lambda document: document.stem)
def test_every_query_of_a_migration_asks_for_what_is_served(document: Path) -> None:
    after = " ".join(queries(document, ours=True))
    named = set(re.findall(r"\b(?:kafka|klag|kminion)_\w+", after))
    assert named
    assert set() == named - SERVED


@pytest.mark.parametrize("document", MIGRATION, ids=lambda document: document.stem)
def test_every_query_of_a_migration_stands_beside_what_it_was(document: Path) -> None:
    titles = [title.strip() for title, _ in BLOCKS.findall(document.read_text())]
    assert [BEFORE, 'title="after"'] * (len(titles) // 2) == titles
