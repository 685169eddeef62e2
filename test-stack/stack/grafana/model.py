"""Panels and how Grafana spells them in JSON (dashboard schema 39, which Grafana 11 and later read)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
STATES = {
    0: ("Unknown", "text"),
    1: ("PreparingRebalance", "orange"),
    2: ("CompletingRebalance", "yellow"),
    3: ("Stable", "green"),
    4: ("Dead", "red"),
    5: ("Empty", "purple"),
    6: ("Assigning", "yellow"),
    7: ("Reconciling", "orange"),
}
Kind = Literal["stat", "state-timeline", "table", "timeseries"]


@attrs.frozen
class Query:
    """One PromQL query; the legend is a template over its labels."""

    expr: str
    legend: str = ""
    column: str = ""
    """In a table: the heading of its values."""


@attrs.frozen(kw_only=True)
class Panel:
    """One panel; `by_partition` is whether it stays empty at granularity "topic"."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    width: int = 12
    height: int = 8
    by_partition: bool = False
    stacked: bool = False
    states: bool = False
    """Whether the values are states of groups."""
    bad_from: float | None = None
    """The value from which on it is shown in red."""
    bad_below: float | None = None


@attrs.frozen
class Row:
    """A headline and the panels below it."""

    title: str
    panels: Sequence[Panel]
    collapsed: bool = False


def dashboard(rows: Sequence[Row], variables: Sequence[dict[str, Any]], **about: Any) -> dict[str, Any]:
    """Lay the rows out from left to right and from top to bottom."""
    panels: list[dict[str, Any]] = []
    numbers = iter(range(1, 1000))
    y = 0
    for row in rows:
        inside, below = _laid_out(row, y + 1, numbers)
        head = {
            "type": "row",
            "id": next(numbers),
            "title": row.title,
            "collapsed": row.collapsed,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            "panels": inside if row.collapsed else [],
        }
        panels += [head] if row.collapsed else [head, *inside]
        y = below
    return {
        **about,
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "templating": {"list": list(variables)},
        "panels": panels,
    }


def _laid_out(row: Row, y: int, numbers: Any) -> tuple[list[dict[str, Any]], int]:
    placed, x, tallest = [], 0, 0
    for panel in row.panels:
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        at = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        placed.append({"id": next(numbers), "gridPos": at, **_panel(panel)})
        x += panel.width
        tallest = max(tallest, panel.height)
    return placed, y + tallest


def _panel(panel: Panel) -> dict[str, Any]:
    note = (
        'Needs granularity = "partition".'
        if panel.by_partition
        else 'Works with granularity "topic" and "partition".'
    )
    made: dict[str, Any] = {
        "type": panel.kind,
        "title": panel.title,
        "description": f"{panel.description} {note}",
        "datasource": DATASOURCE,
        "targets": [_target(panel, query, "ABCDEFGHIJ"[n]) for n, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }
    if panel.kind == "table":
        made["transformations"] = _joined(panel)
        made["fieldConfig"]["overrides"] = _columns(panel)
    return made


def _target(panel: Panel, query: Query, ref: str) -> dict[str, Any]:
    target = {
        "refId": ref,
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
    }
    if panel.kind == "table":
        return {**target, "instant": True, "range": False, "format": "table"}
    return {**target, "instant": panel.kind == "stat", "range": panel.kind != "stat"}


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_from is not None:
        steps.append({"color": "red", "value": panel.bad_from})
    if panel.bad_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.bad_below}]
    found: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        found["min"] = 0 if panel.stacked else None
        found["custom"] = {
            "fillOpacity": 20 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "showPoints": "never",
            "spanNulls": False,
        }
    elif panel.kind == "state-timeline":
        found["custom"] = {"fillOpacity": 80, "lineWidth": 0, "spanNulls": False}
    if panel.states:
        found["mappings"] = _STATE_MAPPINGS
    return {key: value for key, value in found.items() if value is not None}


def _joined(panel: Panel) -> list[dict[str, Any]]:
    """Make one table of all queries, by the labels that they share."""
    names = {f"Value #{'ABCDEFGHIJ'[n]}": query.column for n, query in enumerate(panel.queries)}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
    ]


def _columns(panel: Panel) -> list[dict[str, Any]]:
    overrides: list[dict[str, Any]] = []
    for query in panel.queries:
        properties: list[dict[str, Any]] = []
        if query.column == "state":
            properties = [
                {"id": "mappings", "value": _STATE_MAPPINGS},
                {"id": "custom.cellOptions", "value": {"type": "color-text"}},
            ]
        elif query.column == "time lag":
            properties = [{"id": "unit", "value": "s"}]
        if properties:
            matcher = {"id": "byName", "options": query.column}
            overrides.append({"matcher": matcher, "properties": properties})
    return overrides


_STATE_MAPPINGS = [
    {
        "type": "value",
        "options": {
            str(number): {"text": text, "color": color, "index": number}
            for number, (text, color) in STATES.items()
        },
    }
]
_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    },
    "timeseries": {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "state-timeline": {
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "auto",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single", "sort": "none"},
    },
    "table": {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"]}},
}
