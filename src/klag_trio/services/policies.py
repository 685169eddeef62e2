"""The cleanup policies of topics, each asked for once in a while."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import trio

from klag_trio.domain.offsets import CleanupPolicy, Fault
from klag_trio.services.cached import Cached
from klag_trio.services.cluster_admin import ClusterAdmin, attempt, is_denied
from klag_trio.services.faults import FaultLog

_TOO_SLOW = Fault("_TIMED_OUT", "the cycle had no more time for this question", retriable=True)


class CleanupPolicies:
    """Those of one cluster, each trusted for `ttl` seconds."""

    def __init__(self, admin: ClusterAdmin, faults: FaultLog, ttl: float) -> None:
        self._admin = admin
        self._faults = faults
        self._ttl = ttl
        self._policies: dict[str, Cached[CleanupPolicy]] = {}
        self._tried: set[str] = set()
        """Topics that were asked for in this cycle."""
        self._denied: dict[str, Fault] = {}

    def begin_cycle(self) -> None:
        """Whatever could not be told in the last cycle may be asked for again."""
        self._tried.clear()

    async def of(self, topics: set[str], *, within: float = inf) -> dict[str, CleanupPolicy]:
        """The policies of these topics; one that could never be read is missing and in the fault log.

        No topic is asked for twice in a cycle, and none is waited for longer than `within` seconds.
        """
        known = {topic: cached.get() for topic in topics if (cached := self._policies.get(topic))}
        policies = {topic: policy for topic, policy in known.items() if policy is not None}
        unknown = sorted(topics - policies.keys())
        if untried := [topic for topic in unknown if topic not in self._tried]:
            await self._ask(untried, within)
        for topic, fault in self._denied.items():
            self._faults.lasts("policies", topic, fault)
        # One that cannot be read any more is better taken for what it was than for Kafka's default.
        policies.update(
            (topic, last)
            for topic in unknown
            if (cached := self._policies.get(topic)) is not None and (last := cached.last) is not None
        )
        return policies

    async def _ask(self, topics: list[str], within: float) -> None:
        self._tried.update(topics)
        answers: dict[str, CleanupPolicy | Fault] = dict.fromkeys(topics, _TOO_SLOW)
        with trio.move_on_after(within):
            answers = await attempt(self._admin.cleanup_policies, topics)
        for topic, policy in self._faults.sift("policies", answers).items():
            self._policies.setdefault(topic, Cached(self._ttl)).put(policy)
        for topic, answer in answers.items():
            if is_denied(answer):
                self._denied[topic] = answer
            elif not isinstance(answer, Fault):
                self._denied.pop(topic, None)

    def forget_besides(self, topics: Iterable[str]) -> None:
        """Forget those of all other topics, so that they are asked for again when one comes back."""
        self._policies = {topic: self._policies[topic] for topic in topics if topic in self._policies}
        self._denied = {topic: self._denied[topic] for topic in topics if topic in self._denied}
