"""The cleanup policies of topics, each asked for once in a while."""

from __future__ import annotations

from collections.abc import Iterable

from klag_trio.domain.offsets import CleanupPolicy
from klag_trio.services.cached import Cached
from klag_trio.services.cluster_admin import ClusterAdmin, attempt
from klag_trio.services.faults import FaultLog


class CleanupPolicies:
    """Those of one cluster, each trusted for `ttl` seconds."""

    def __init__(self, admin: ClusterAdmin, faults: FaultLog, ttl: float) -> None:
        self._admin = admin
        self._faults = faults
        self._ttl = ttl
        self._policies: dict[str, Cached[CleanupPolicy]] = {}

    async def of(self, topics: set[str]) -> dict[str, CleanupPolicy]:
        """The policies of these topics; one that could never be read is missing and in the fault log."""
        known = {topic: cached.get() for topic in topics if (cached := self._policies.get(topic))}
        unknown = sorted(topic for topic in topics if known.get(topic) is None)
        policies = {topic: policy for topic, policy in known.items() if policy is not None}
        if unknown:
            answers = await attempt(self._admin.cleanup_policies, unknown)
            for topic, policy in self._faults.sift("policies", answers).items():
                self._policies.setdefault(topic, Cached(self._ttl)).put(policy)
            # One that cannot be read any more is better taken for what it was than for Kafka's default.
            policies.update(
                (topic, last)
                for topic in unknown
                if (cached := self._policies.get(topic)) is not None and (last := cached.last) is not None
            )
        return policies

    def forget_besides(self, topics: Iterable[str]) -> None:
        """Forget those of all other topics, so that they are asked for again when one comes back."""
        self._policies = {topic: self._policies[topic] for topic in topics if topic in self._policies}
