"""How long KafkaAdmin waits where librdkafka does not answer, and how much it asks meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar, cast

import pytest
import trio
from confluent_kafka import KafkaError
from confluent_kafka.admin._config import ConfigEntry

from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Call, Client
from klag_trio.kafka.faults import fault_of

T = TypeVar("T")

TOPICS = [f"topic-{number}" for number in range(1_000)]
PARTITIONS = [TopicPartition(topic, 0) for topic in TOPICS]
MOST = 10
GROUPS = [f"group-{number}" for number in range(20 * MOST)]


class Silent:
    """An AdminClient that takes questions and answers none."""

    def __init__(self) -> None:
        self.asked = 0

    def describe_configs(self, resources: Sequence[Any], request_timeout: float) -> dict[Any, Future[Any]]:
        self.asked += len(resources)
        return {resource: Future() for resource in resources}

    def offsets(self, partitions: Sequence[Any], timeout: float) -> Future[Any]:
        self.asked += len(partitions)
        return Future()


class Telling:
    """An AdminClient that tells the same configuration of every topic."""

    def __init__(self, entries: Sequence[ConfigEntry]) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def describe_configs(self, resources: Sequence[Any], request_timeout: float) -> dict[Any, Future[Any]]:
        answers: dict[Any, Future[Any]] = {resource: Future() for resource in resources}
        for answer in answers.values():
            answer.set_result(self._entries)
        return answers


class SilentCoordinators:
    """Takes questions, and lets the time of each be up."""

    def __init__(self, *, used: bool) -> None:
        self.used = used
        self.most = 0
        self._deadlines: dict[str, float] = {}

    @contextmanager
    def asking(self, question: object) -> Iterator[SilentCoordinators]:
        self._deadlines.clear()
        yield self

    @property
    def owed(self) -> int:
        return len(self._deadlines)

    def send(self, group: str, timeout: float) -> None:
        self._deadlines[group] = monotonic() + timeout
        self.most = max(self.most, self.owed)

    def receive(self, patience: float) -> tuple[str, KafkaError] | None:
        group, deadline = next(iter(self._deadlines.items()))
        threading.Event().wait(max(0, min(deadline - monotonic(), patience)))
        if monotonic() < deadline:
            return None
        del self._deadlines[group]
        return group, KafkaError(KafkaError._TIMED_OUT)


class FakeClient:
    """Runs what is asked in a thread, and answers with what comes of it."""

    def __init__(self, seconds: float, *, used: bool = False) -> None:
        self.admin: Any = Silent()
        self.made = [SilentCoordinators(used=used)]
        self.abandoned = threading.Event()
        self._seconds = seconds

    async def call(self, stage: str, work: Callable[[Call], T], *, within: float | None = None) -> T:
        deadline = monotonic() + self._seconds
        coordinators = cast(Any, self.made[-1])
        call = Call(self.admin, coordinators, self._another, deadline, self.abandoned.is_set)
        return await trio.to_thread.run_sync(work, call)

    def _another(self) -> Any:
        self.made.append(SilentCoordinators(used=False))
        return self.made[-1]

    def fault(self, error: KafkaError) -> Fault:
        return fault_of(error)


def admin_of(client: FakeClient) -> KafkaAdmin:
    return KafkaAdmin(cast(Client, client), max_concurrent_groups=MOST, offset_fetch_timeout=0.2)


def code_of(answer: object) -> str | None:
    return answer.code if isinstance(answer, Fault) else None


QUESTIONS: dict[str, Callable[[KafkaAdmin], Awaitable[Mapping[Any, object]]]] = {
    "policies": lambda admin: admin.cleanup_policies(TOPICS),
    "earliest": lambda admin: admin.earliest(PARTITIONS),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_what_librdkafka_is_late_with_is_waited_for_once_in_a_call(question: str) -> None:
    client = FakeClient(0.1)
    # With 0.2 s for each of a thousand it would be 200 s.
    with trio.fail_after(20):
        answers = await QUESTIONS[question](admin_of(client))
    assert {"_TIMED_OUT"} == {code_of(answer) for answer in answers.values()}
    assert len(TOPICS) == len(answers)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_question_that_nobody_waits_for_any_more_ends(question: str) -> None:
    client = FakeClient(600)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(QUESTIONS[question], admin_of(client))
            while not client.admin.asked:  # noqa: ASYNC110 - a thread asks
                await trio.sleep(0.01)
            asked = client.admin.asked
            client.abandoned.set()
    assert asked == client.admin.asked


@pytest.mark.parametrize("used", [False, True])
async def test_a_coordinator_that_hangs_is_never_asked_about_more_groups_than_configured(
    *, used: bool
) -> None:
    client = FakeClient(30, used=used)
    answers = await admin_of(client).commits(GROUPS)
    assert dict.fromkeys(GROUPS, "_TIMED_OUT") == {
        group: code_of(answer) for group, answer in answers.items()
    }
    # What librdkafka may have asked one that hangs is asked again over a handle that has not.
    assert [MOST] * (1 + used) == [coordinators.most for coordinators in client.made]


@pytest.mark.parametrize(
    "entries", [[], [ConfigEntry("segment.bytes", "1")], [ConfigEntry("cleanup.policy", None)]]
)
async def test_an_answer_without_the_policy_is_a_fault_of_its_topic(entries: list[ConfigEntry]) -> None:
    client = FakeClient(20)
    client.admin = Telling(entries)
    policies = await admin_of(client).cleanup_policies(["orders"])
    assert "_BAD_MSG" == code_of(policies["orders"])
