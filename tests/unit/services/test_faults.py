from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from klag_trio.domain.offsets import Fault
from klag_trio.services.faults import FaultLog

DENIED = Fault("GROUP_AUTHORIZATION_FAILED", "not allowed")
LATE = Fault("_TIMED_OUT", "timed out", retriable=True)


def end_cycle(faults: FaultLog, *, good: bool = True) -> list[EventDict]:
    """What is logged when a cycle ends."""
    with capture_logs() as events:
        faults.end_cycle(good=good)
    return list(events)


@pytest.fixture
def faults() -> FaultLog:
    return FaultLog("prod")


def test_an_error_is_logged_once_when_it_begins_and_once_when_it_ends(faults: FaultLog) -> None:
    logged = []
    for failing in (False, True, True, True, False, False):
        if failing:
            faults.record("committed", "app", LATE)
        logged.append(end_cycle(faults))
    began = {
        "event": "cannot read committed",
        "log_level": "warning",
        "cluster": "prod",
        "subject": "app",
        "code": "_TIMED_OUT",
        "error": "timed out",
    }
    ended = {
        "event": "can read committed again",
        "log_level": "info",
        "cluster": "prod",
        "subject": "app",
        "code": "_TIMED_OUT",
    }
    assert [[], [began], [], [], [ended], []] == logged


def test_an_error_that_somebody_can_end_says_how(faults: FaultLog) -> None:
    faults.record("committed", "app", DENIED)
    (event,) = end_cycle(faults)
    assert "allow DESCRIBE on the group" == event["mend"]


def test_another_error_of_the_same_subject_is_logged_as_its_own(faults: FaultLog) -> None:
    faults.record("committed", "app", LATE)
    end_cycle(faults)
    faults.record("committed", "app", DENIED)
    assert [
        ("cannot read committed", "GROUP_AUTHORIZATION_FAILED"),
        ("can read committed again", "_TIMED_OUT"),
    ] == [(event["event"], event["code"]) for event in end_cycle(faults)]


def test_every_error_is_counted_by_stage_and_code(faults: FaultLog) -> None:
    for _ in range(3):
        faults.record("committed", "app", LATE)
        faults.record("committed", "other", LATE)
        faults.record("committed", "third", DENIED)
        faults.record("groups", "", LATE)
        faults.end_cycle()
    assert {
        ("committed", "_TIMED_OUT"): 6,
        ("committed", "GROUP_AUTHORIZATION_FAILED"): 3,
        ("groups", "_TIMED_OUT"): 3,
    } == faults.counts


def test_of_many_alike_ten_are_named_and_the_rest_counted(faults: FaultLog) -> None:
    for i in range(25):
        faults.record("committed", f"group-{i}", LATE)
    faults.record("committed", "denied", DENIED)
    began = end_cycle(faults)
    named = [event["subject"] for event in began if event["event"] == "cannot read committed"]
    assert [*[f"group-{i}" for i in range(10)], "denied"] == named
    assert [15] == [event["count"] for event in began if event["event"] == "more of these began"]
    ended = end_cycle(faults)
    assert 11 == sum(event["event"] == "can read committed again" for event in ended)
    assert [15] == [event["count"] for event in ended if event["event"] == "more of these ended"]


def test_what_lasts_is_neither_counted_nor_said_to_have_ended(faults: FaultLog) -> None:
    faults.record("timestamps", "orders", LATE)
    end_cycle(faults)
    faults.lasts("timestamps", "orders", LATE)
    assert [] == end_cycle(faults)
    assert {("timestamps", "_TIMED_OUT"): 1} == faults.counts
    assert ["can read timestamps again"] == [event["event"] for event in end_cycle(faults)]


def test_a_cycle_that_was_not_good_ends_no_error(faults: FaultLog) -> None:
    faults.record("committed", "app", LATE)
    end_cycle(faults)
    down = Fault("_TRANSPORT", "connection refused")
    faults.record("groups", "", down)
    assert ["cannot read groups"] == [event["event"] for event in end_cycle(faults, good=False)]
    faults.record("topics", "", LATE)
    assert ["cannot read topics"] == [event["event"] for event in end_cycle(faults, good=False)]
    newest_first = [("topics", "", LATE), ("groups", "", down), ("committed", "app", LATE)]
    assert newest_first == faults.lasting
    assert {"can read topics again", "can read groups again", "can read committed again"} == {
        event["event"] for event in end_cycle(faults)
    }


@pytest.mark.parametrize(
    ("stage", "begun", "ended"),
    [
        ("recycle", "cannot make the client anew", "can make the client anew again"),
        ("cycle", "cannot end a cycle in time", "can end a cycle in time again"),
    ],
)
def test_what_is_no_reading_is_called_what_it_is(
    faults: FaultLog, stage: str, begun: str, ended: str
) -> None:
    faults.record(stage, "", LATE)
    assert [begun] == [event["event"] for event in end_cycle(faults)]
    assert [ended] == [event["event"] for event in end_cycle(faults)]


def test_the_errors_of_the_last_cycle_are_told(faults: FaultLog) -> None:
    faults.record("committed", "app", LATE)
    assert [] == faults.lasting
    faults.end_cycle()
    assert [("committed", "app", LATE)] == faults.lasting
    faults.end_cycle()
    assert [] == faults.lasting
