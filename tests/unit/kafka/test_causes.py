from __future__ import annotations

import attrs
import pytest
from confluent_kafka import KafkaError

from klag_trio.domain.offsets import Fault, GroupListing
from klag_trio.kafka.causes import Causes

LATE = Fault("_TIMED_OUT", "timed out", retriable=True)
DENIED = Fault("CLUSTER_AUTHORIZATION_FAILED", "not allowed")
REFUSED = KafkaError(KafkaError._TRANSPORT, "connection refused")
BAD_LOGIN = KafkaError(KafkaError._AUTHENTICATION, "wrong password")
UNKNOWN_HOST = KafkaError(KafkaError._RESOLVE, "no such host")
ALL_DOWN = KafkaError(KafkaError._ALL_BROKERS_DOWN)


@attrs.define
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def causes(clock: Clock) -> Causes:
    return Causes(clock)


def test_a_timeout_has_the_cause_that_was_told(causes: Causes) -> None:
    assert causes.behind(LATE) is None
    causes.note(BAD_LOGIN)
    causes.note(ALL_DOWN)
    assert BAD_LOGIN == causes.behind(LATE)


def test_what_a_broker_answered_has_no_other_cause(causes: Causes) -> None:
    causes.note(REFUSED)
    assert causes.behind(DENIED) is None


def test_a_cause_lasts_while_it_is_not_told_again(causes: Causes, clock: Clock) -> None:
    causes.note(BAD_LOGIN)
    for _ in range(2):
        clock.now += 15
        assert BAD_LOGIN == causes.behind(LATE)


def test_an_old_cause_is_not_named_for_a_new_error(causes: Causes, clock: Clock) -> None:
    causes.note(REFUSED)
    clock.now += 60
    assert causes.behind(LATE) is None


@pytest.mark.parametrize("answer", [{"orders": 3, "payments": LATE}, GroupListing({}), ["anything"]])
def test_after_an_answer_what_was_told_before_is_no_cause(
    causes: Causes, clock: Clock, answer: object
) -> None:
    causes.note(REFUSED)
    clock.now += 1
    causes.answered(answer, since=clock.now)
    assert causes.reached
    assert causes.behind(LATE) is None


def test_what_was_told_during_a_call_that_brought_an_answer_may_be_a_cause(
    causes: Causes, clock: Clock
) -> None:
    began = clock.now
    clock.now += 1
    causes.note(REFUSED)
    causes.answered({"orders": 3}, since=began)
    assert REFUSED == causes.behind(LATE)


@pytest.mark.parametrize("answer", [{"orders": LATE}, GroupListing({}, [LATE])])
def test_faults_alone_are_no_answer(causes: Causes, clock: Clock, answer: object) -> None:
    causes.note(REFUSED)
    clock.now += 1
    causes.answered(answer, since=clock.now)
    assert not causes.reached
    assert REFUSED == causes.behind(LATE)


def test_of_several_causes_the_most_telling_is_named_whichever_came_last(causes: Causes) -> None:
    for error in (UNKNOWN_HOST, BAD_LOGIN, UNKNOWN_HOST, REFUSED):
        causes.note(error)
    assert BAD_LOGIN == causes.behind(LATE)
