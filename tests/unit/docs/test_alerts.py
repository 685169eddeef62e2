"""The alerts are valid, tested both ways, and explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from klag_trio.exposition.families import FAMILIES

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "test-stack" / "prometheus"
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
CASE_FILES = sorted((PROMETHEUS / "tests").glob("*.yml"))
SERVED = {family.name for family in FAMILIES}


def documents(files: list[Path]) -> list[Any]:
    return [yaml.safe_load(path.read_text()) for path in files]


GROUPS = [group for document in documents(RULE_FILES) for group in document["groups"]]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
CASES = [
    case
    for document in documents(CASE_FILES)
    for test in document["tests"]
    for case in test["promql_expr_test"]
]


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def named_in(expression: str) -> set[str]:
    return set(re.findall(r'alertname=~?"([^"]*)"', expression))


def cases_of(alert: str) -> list[Any]:
    return [
        case
        for case in CASES
        if any(re.fullmatch(pattern, alert) for pattern in named_in(case["expr"]))
        and 'alertstate="firing"' in case["expr"]
    ]


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", *map(str, RULE_FILES))


@pytest.mark.parametrize("cases", CASE_FILES, ids=lambda path: path.stem)
def test_the_rules_do_as_their_cases_say(cases: Path) -> None:
    promtool("test", "rules", str(cases))


def test_every_file_of_rules_has_its_cases() -> None:
    assert [path.name for path in RULE_FILES] == [path.name for path in CASE_FILES]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(alert: str) -> None:
    fires = [
        sample["labels"]
        for case in cases_of(alert)
        for sample in case["exp_samples"]
        if f'alertname="{alert}"' in sample["labels"]
    ]
    silent = [case for case in cases_of(alert) if not case["exp_samples"]]
    assert fires
    assert silent


@pytest.mark.parametrize("record", [rule["record"] for rule in RULES if "record" in rule])
def test_every_recording_rule_has_a_case_with_a_value(record: str) -> None:
    assert [case for case in CASES if case["expr"] == record and case["exp_samples"]]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert {"summary", "description", "runbook"} == set(rule["annotations"])
    assert f"docs/alerts.md#{alert.lower()}" == rule["annotations"]["runbook"]


def test_the_document_has_a_section_for_each_alert_and_for_no_other() -> None:
    sections = re.findall(r"^### (\w+)$", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    assert list(ALERTS) == sections


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule.get("record"))
def test_every_metric_that_a_rule_asks_for_is_served(rule: Any) -> None:
    asked = set(re.findall(r"\b(?:kafka|klag)_\w+", rule["expr"]))
    assert asked <= SERVED
    assert asked or "up ==" in rule["expr"]
