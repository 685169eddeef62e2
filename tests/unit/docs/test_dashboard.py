"""The Grafana dashboard is what its script makes, and every panel says what it shows."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from klag_trio.exposition.families import FAMILIES, LAG_FAMILIES, M
from stack.grafana.dashboard import ROWS, TARGET, text
from stack.load import GROUPS

PAGE = Path(__file__).parents[3] / "docs" / "dashboard.md"
PANELS = [panel for row in ROWS for panel in row.panels]
QUERIES = [(panel, query.expr) for panel in PANELS for query in panel.queries]
BY_PARTITION = {family.name for family in FAMILIES if set(M) <= set(family.labels)}
BY_CLUSTER = {family.name for family in FAMILIES if "cluster_name" in family.labels}


def metrics(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:kafka|klag)_\w+", expression))


def laid_out() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(text())["panels"]
    return panels


def test_the_file_is_what_the_script_writes() -> None:
    assert text() == TARGET.read_text(), "run: python test-stack grafana"


def test_the_page_about_it_names_the_groups_that_run() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == GROUPS


def test_panels_neither_overlap_nor_leave_the_page() -> None:
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in laid_out())
        for x, y in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_panel_has_an_id_and_a_title_of_its_own() -> None:
    for key in ("id", "title"):
        values = [panel[key] for panel in laid_out()]
        assert len(values) == len(set(values))


def test_every_panel_says_which_granularity_it_needs() -> None:
    for panel in PANELS:
        needed = set().union(*(metrics(query.expr) for query in panel.queries)) & BY_PARTITION
        # An expression with an alternative for granularity "topic" needs none of them.
        alternative = all(" or " in query.expr for query in panel.queries)
        assert panel.by_partition == (bool(needed) and not alternative), panel.title


@pytest.mark.parametrize(("panel", "expr"), QUERIES, ids=[panel.title for panel, _ in QUERIES])
def test_every_query_asks_for_what_is_served_and_follows_the_variables(panel: Any, expr: str) -> None:
    asked = metrics(expr)
    assert asked <= {family.name for family in FAMILIES}
    for name in asked & BY_CLUSTER:
        assert f'{name}{{cluster_name=~"$cluster"' in expr
    assert panel.description.endswith(".")
    assert panel.unit


def test_every_family_about_lag_is_on_the_dashboard() -> None:
    shown = set().union(*(metrics(expr) for _, expr in QUERIES))
    assert {family.name for family in LAG_FAMILIES} - shown == set()
