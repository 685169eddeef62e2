"""A ClusterAdmin that tells what it was asked, and lets the test act between two questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from klag_trio.domain.offsets import (
        CleanupPolicy,
        Commits,
        Fault,
        GroupDescription,
        GroupListing,
        GroupType,
        TopicPartition,
    )
    from klag_trio.services.cluster_admin import ClusterAdmin


@attrs.define
class WatchedAdmin:
    """Passes every question on to `admin`."""

    admin: ClusterAdmin
    asked: list[tuple[str, tuple[Any, ...]]] = attrs.field(factory=list)
    """Each question in order: the method's name and what it was asked about."""
    before: dict[str, Callable[[], object]] = attrs.field(factory=dict)
    """What happens each time before a method is passed on."""

    def names(self) -> list[str]:
        """The methods that were called, in order."""
        return [name for name, _ in self.asked]

    def subjects(self, method: str) -> set[Any]:
        """All that a method was asked about so far."""
        return {subject for name, subjects in self.asked if name == method for subject in subjects}

    async def topics(self) -> Mapping[str, Sequence[int]]:
        self._note("topics")
        return await self.admin.topics()

    async def groups(self) -> GroupListing:
        self._note("groups")
        return await self.admin.groups()

    async def describe(
        self, groups: Mapping[str, GroupType], partitions: Mapping[str, int]
    ) -> Mapping[str, GroupDescription | Fault]:
        self._note("describe", tuple(groups))
        return await self.admin.describe(groups, partitions)

    async def commits(self, groups: Sequence[str]) -> Mapping[str, Commits | Fault]:
        self._note("commits", groups)
        return await self.admin.commits(groups)

    async def earliest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        self._note("earliest", partitions)
        return await self.admin.earliest(partitions)

    async def latest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        self._note("latest", partitions)
        return await self.admin.latest(partitions)

    async def cleanup_policies(self, topics: Sequence[str]) -> Mapping[str, CleanupPolicy | Fault]:
        self._note("cleanup_policies", topics)
        return await self.admin.cleanup_policies(topics)

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str | Fault]:
        self._note("topic_ids", topics)
        return await self.admin.topic_ids(topics)

    def _note(self, method: str, subjects: Sequence[Any] = ()) -> None:
        self.asked.append((method, tuple(subjects)))
        if (act := self.before.get(method)) is not None:
            act()
