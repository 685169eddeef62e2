"""Which member owns which partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from klag_trio.domain.offsets import GroupDescription, GroupState, Member, TopicPartition

_UNKNOWN_TOPICS = 100
_LONGEST_TOPIC = 249
"""What Kafka takes for the name of a topic."""


def described(
    state: GroupState,
    members: Iterable[tuple[Member, Mapping[str, Sequence[int]]]],
    partitions: Mapping[str, int],
) -> GroupDescription:
    """A group whose members own these partitions of each topic, of which there are so many.

    Members choose what they say that they own. What does not exist is left out, so that a description takes
    no more memory than the partitions that exist; some of the topics are kept by name.
    """
    owners: dict[TopicPartition, Member] = {}
    unknown: set[str] = set()
    total = 0
    for member, owned in members:
        total += 1
        for topic, numbers in owned.items():
            count = partitions.get(topic)
            if count is not None:
                owners.update((TopicPartition(topic, n), member) for n in set(numbers) if 0 <= n < count)
            elif len(unknown) < _UNKNOWN_TOPICS and len(topic) <= _LONGEST_TOPIC:
                unknown.add(topic)
    return GroupDescription(state, owners, total, frozenset(unknown))
