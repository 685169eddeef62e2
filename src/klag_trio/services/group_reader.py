"""What each group is asked: its members and its committed offsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import random
from typing import TypeVar

import attrs
import trio

from klag_trio.domain.backoff import full_jitter
from klag_trio.domain.offsets import (
    OUT_OF_TURN,
    Commits,
    Fault,
    GroupDescription,
    ListedGroup,
    TopicPartition,
)
from klag_trio.services.cached import Cached
from klag_trio.services.cluster_admin import ClusterAdmin, attempt, may_pass
from klag_trio.services.faults import FaultLog

V = TypeVar("V")

_RETRY_BASE = 0.1
_RETRY_CAP = 2.0


@attrs.frozen
class Descriptions:
    """Who is in the groups that have members."""

    known: Mapping[str, GroupDescription] = attrs.field(factory=dict)
    """As described in this cycle or, of those that were not, for the last time."""
    faults: Mapping[str, Fault] = attrs.field(factory=dict)
    """Why the others were not described in this cycle; a group that is gone is among them."""


class GroupReader:
    """Asks the groups of one cluster; what fails and may pass is asked `retries` times more."""

    def __init__(self, admin: ClusterAdmin, faults: FaultLog, *, retries: int, keep_seconds: float) -> None:
        self._admin = admin
        self._faults = faults
        self._retries = retries
        self._keep_seconds = keep_seconds
        self._slow_groups: set[str] = set()
        self._descriptions: dict[str, Cached[GroupDescription]] = {}

    async def describe(
        self, listed: Mapping[str, ListedGroup], partitions: Sequence[TopicPartition]
    ) -> Descriptions:
        """The members of those that have any; of one that cannot be described, the last known for a while."""
        may_have = [name for name, group in listed.items() if group.state.has_members]
        asked = {name: listed[name].type for name in may_have if listed[name].listed}
        answers: Mapping[str, GroupDescription | Fault] = {}
        if asked:
            counts = await trio.to_thread.run_sync(lambda: Counter(tp.topic for tp in partitions))
            answers = await self._admin.describe(asked, counts)
        known, faults = {}, {}
        for name in may_have:
            answer = answers.get(name)
            # So that its series keep their labels.
            last = self._descriptions.setdefault(name, Cached(self._keep_seconds))
            if isinstance(answer, GroupDescription):
                last.put(answer)
            elif answer is not None:
                faults[name] = answer
            if (latest := answer if isinstance(answer, GroupDescription) else last.get()) is not None:
                known[name] = latest
        self._descriptions = {name: self._descriptions[name] for name in may_have}
        return Descriptions(known, faults)

    async def commits(self, listed: Mapping[str, ListedGroup]) -> dict[str, Commits | Fault]:
        """The committed offsets of each group."""
        # Those that failed last time come last, so that they take no other group's time.
        groups = sorted(listed, key=self._slow_groups.__contains__)
        if not groups:
            return {}
        commits = await self._ask_each(self._admin.commits, groups)
        self._slow_groups = {
            group
            for group, answer in commits.items()
            if isinstance(answer, Fault) and answer is not OUT_OF_TURN
        }
        for group, answer in commits.items():
            if isinstance(answer, Fault):
                self._faults.record("committed", group, answer)
                continue
            for tp, offset in answer.items():
                if isinstance(offset, Fault):
                    self._faults.record("committed", f"{group} {tp.topic}/{tp.partition}", offset)
        return commits

    async def _ask_each(
        self, ask: Callable[[Sequence[str]], Awaitable[Mapping[str, V | Fault]]], groups: Sequence[str]
    ) -> dict[str, V | Fault]:
        """Each group's answer; where a fault may pass, the one of up to group_fetch_retries more attempts."""
        answers = await attempt(ask, groups)
        now = trio.current_time()
        # Half of what is left of the cycle: asking again may not cost what has been answered.
        with trio.move_on_at(now + (trio.current_effective_deadline() - now) / 2):
            for number in range(1, self._retries + 1):
                groups = [group for group in groups if may_pass(answers.get(group))]
                if not groups:
                    break
                await trio.sleep(full_jitter(number, base=_RETRY_BASE, cap=_RETRY_CAP, random=random()))  # noqa: S311
                answers.update(await attempt(ask, groups))
        return answers
