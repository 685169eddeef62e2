from __future__ import annotations

import pytest

from klag_trio.check import Findings, Trouble
from klag_trio.domain.offsets import Fault

TOPIC, GROUP = Fault("TOPIC_AUTHORIZATION_FAILED", "no"), Fault("GROUP_AUTHORIZATION_FAILED", "no")
LATE = Fault("_TIMED_OUT", "too late")


@pytest.mark.parametrize(
    ("stage", "subject", "fault", "name"),
    [
        ("committed", "app one", GROUP, "app one"),
        ("committed", "app orders/3", TOPIC, "orders"),
        ("earliest", "orders/12", TOPIC, "orders"),
        ("timestamps", "orders", TOPIC, "orders"),
        ("members", "app", TOPIC, "*"),
        ("groups", "", GROUP, "*"),
        ("watermarks", "", TOPIC, "*"),
    ],
)
def test_the_name_is_that_of_the_resource_to_allow(stage: str, subject: str, fault: Fault, name: str) -> None:
    assert name == Trouble(stage, subject, fault).name


def findings(*troubles: Trouble) -> Findings:
    return Findings("prod", "kafka:9092", troubles=list(troubles))


def test_one_command_adds_a_permission_for_all_that_lack_it() -> None:
    found = findings(*(Trouble("timestamps", topic, TOPIC) for topic in ("b", "a")))
    told, command = found.lines(["timestamps"])
    assert "missing: READ on the topic a, b" == told
    assert command.endswith("--operation Read --topic a --topic b")
    assert [] == found.lines(["policies"])


def test_what_no_permission_mends_is_told_as_it_is_and_not_without_end() -> None:
    told = findings(*(Trouble("committed", f"group{n:02}", LATE) for n in range(12))).lines(["committed"])
    assert 11 == len(told)
    assert "cannot read committed of group00: too late (_TIMED_OUT)" == told[0]
    assert "and 2 more" == told[-1]


def test_names_with_control_characters_do_not_reach_the_terminal() -> None:
    found = findings(Trouble("committed", "\x1b[2J", GROUP), Trouble("members", "a\nb", LATE))
    assert all(line.isprintable() for line in found.lines(["committed", "members"]))
