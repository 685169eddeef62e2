"""What a cluster can be asked, and what may be read from a fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeGuard, TypeVar

from klag_trio.domain.offsets import (
    CleanupPolicy,
    ClusterUnavailable,
    Commits,
    Fault,
    GroupDescription,
    GroupListing,
    GroupType,
    TopicPartition,
)

K = TypeVar("K")
V = TypeVar("V")

_GONE = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"})
_SILENCE = frozenset({"_PARTIAL", "_TIMED_OUT"})


class ClusterAdmin(Protocol):
    """What is asked of a cluster. Each method raises ClusterUnavailable where no answer came at all."""

    async def topics(self) -> Mapping[str, Sequence[int]]:
        """Every topic with its partitions."""

    async def groups(self) -> GroupListing:
        """Every group with its state."""

    async def describe(
        self, groups: Mapping[str, GroupType], partitions: Mapping[str, int]
    ) -> Mapping[str, GroupDescription | Fault]:
        """The state of each group and who owns which of the `partitions`, of which each topic has so many.

        It raises nothing: where no answer came, all groups have a fault.
        """

    async def commits(self, groups: Sequence[str]) -> Mapping[str, Commits | Fault]:
        """The committed offsets of each group."""

    async def earliest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        """The low watermark of each partition."""

    async def latest(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int | Fault]:
        """The high watermark of each partition."""

    async def cleanup_policies(self, topics: Sequence[str]) -> Mapping[str, CleanupPolicy | Fault]:
        """The cleanup policy of each topic."""

    async def topic_ids(self, topics: Sequence[str]) -> Mapping[str, str | Fault]:
        """The id of each topic."""


async def attempt(
    ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V | Fault]]], subjects: Sequence[K]
) -> dict[K, V | Fault]:
    """Each subject's answer; the fault for all of them where none came at all."""
    try:
        return dict(await ask(subjects))
    except ClusterUnavailable as exc:
        return dict.fromkeys(subjects, exc.fault)


def is_gone(answer: object) -> bool:
    """Whether a topic or partition is not there."""
    return isinstance(answer, Fault) and answer.code in _GONE


def is_silence(answer: object) -> bool:
    """Whether nobody answered in time."""
    return isinstance(answer, Fault) and answer.code in _SILENCE


def is_denied(answer: object) -> TypeGuard[Fault]:
    """Whether the brokers do not allow it, which holds until they are asked again."""
    return isinstance(answer, Fault) and answer.code.endswith("_AUTHORIZATION_FAILED")


def may_pass(answer: object) -> bool:
    """Whether the same question may be answered the next time."""
    return isinstance(answer, Fault) and answer.retriable
