"""What each group is asked: its members and its committed offsets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import random
from typing import TypeVar

import trio

from klag_trio.domain.backoff import full_jitter
from klag_trio.domain.offsets import OUT_OF_TURN, Commits, Fault, GroupDescription, GroupState
from klag_trio.services.cached import Cached
from klag_trio.services.cluster_admin import ClusterAdmin, attempt, may_pass
from klag_trio.services.faults import FaultLog

V = TypeVar("V")

_RETRY_BASE = 0.1
_RETRY_CAP = 2.0


class GroupReader:
    """Asks the groups of one cluster; what fails and may pass is asked `retries` times more."""

    def __init__(self, admin: ClusterAdmin, faults: FaultLog, *, retries: int, keep_seconds: float) -> None:
        self._admin = admin
        self._faults = faults
        self._retries = retries
        self._keep_seconds = keep_seconds
        self._slow_groups: set[str] = set()
        self._descriptions: dict[str, Cached[GroupDescription]] = {}

    async def describe(self, listed: Mapping[str, GroupState]) -> Mapping[str, GroupDescription]:
        """The members of those that have any; of one that cannot be described, the last known for a while."""
        with_members = [group for group, state in listed.items() if state.has_members]
        if not with_members:
            return {}
        described = self._faults.sift("members", await self._ask_each(self._admin.describe, with_members))
        for group in with_members:
            # So that its series keep their labels.
            last = self._descriptions.setdefault(group, Cached(self._keep_seconds))
            if group in described:
                last.put(described[group])
            elif (known := last.get()) is not None:
                described[group] = known
        self._descriptions = {group: self._descriptions[group] for group in with_members}
        return described

    async def commits(self, listed: Mapping[str, GroupState]) -> dict[str, Commits | Fault]:
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
