"""Who owns what, as far as it exists."""

from __future__ import annotations

from klag_trio.domain.members import described
from klag_trio.domain.offsets import GroupState, Member, TopicPartition

ONE, OTHER = (Member(name, name, "/127.0.0.1") for name in ("one", "other"))
STABLE = GroupState.STABLE


def test_members_own_what_exists() -> None:
    found = described(STABLE, [(ONE, {"orders": [0, 2]}), (OTHER, {"orders": [1]})], {"orders": 3})
    owned = {("orders", 0): ONE, ("orders", 1): OTHER, ("orders", 2): ONE}
    assert owned == found.owners
    assert frozenset() == found.unknown_topics


def test_a_member_without_partitions_counts() -> None:
    found = described(STABLE, [(ONE, {"orders": [0]}), (OTHER, {})], {"orders": 1})
    assert 2 == found.members


def test_what_does_not_exist_is_owned_by_nobody() -> None:
    owned = {"orders": [-1, 0, 3, 2**31 - 1] * 1000, "secret": [0]}
    found = described(STABLE, [(ONE, owned)], {"orders": 3})
    assert {TopicPartition("orders", 0): ONE} == found.owners
    assert {"secret"} == found.unknown_topics


def test_only_some_of_the_topics_that_are_not_there_are_kept_and_none_that_no_topic_can_be_called() -> None:
    owned = {f"topic-{number}": [0] for number in range(100_000)} | {"t" * 250: [0]}
    found = described(STABLE, [(ONE, {"t" * 250: [0]}), (OTHER, owned)], {})
    assert 100 == len(found.unknown_topics)
    assert "t" * 250 not in found.unknown_topics
