"""Which groups there are: listed once in a while, and known from before where brokers do not list them."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from klag_trio.domain.filters import NameFilter
from klag_trio.domain.offsets import (
    ClusterUnavailable,
    Commits,
    Fault,
    GroupState,
    ListedGroup,
)
from klag_trio.services.cached import Cached
from klag_trio.services.cluster_admin import ClusterAdmin
from klag_trio.services.faults import FaultLog
from klag_trio.services.group_reader import Descriptions
from klag_trio.services.stopwatch import Stopwatch

Listed = dict[str, ListedGroup]
"""Groups as they were listed."""


_UNLISTED = ListedGroup(GroupState.UNKNOWN, listed=False)


class Listing:
    """The groups of one cluster that are wanted.

    A listing is trusted for `ttl` seconds; where none comes, the last one goes on for `keep_seconds`.
    """

    def __init__(
        self, admin: ClusterAdmin, wants: NameFilter, faults: FaultLog, *, ttl: float, keep_seconds: float
    ) -> None:
        self._admin = admin
        self._wants = wants
        self._faults = faults
        self._cached: Cached[Listed] = Cached(ttl)
        self._last: Cached[Listed] = Cached(keep_seconds)
        self._known_bare: set[str] = set()
        self._unlisted: set[str] = set()

    def cached(self) -> Listed | None:
        """The groups, or None where they must be asked for."""
        return self._cached.get()

    def last(self) -> Listed | None:
        """The groups as they were listed last; None where that was never, or too long ago."""
        return self._last.get()

    async def ask(self) -> Listed:
        """Ask for them anew; those of brokers that do not answer stay as they were.

        Raises:
            ClusterUnavailable: nobody answered.

        """
        listing = await self._admin.groups()
        # In a thread: 65,000 names take a quarter of a second.
        names = await trio.to_thread.run_sync(self._wants.select, listing.groups)
        groups = {name: listing.groups[name] for name in names}
        for fault in listing.faults:
            self._faults.record("groups", "", fault)
        last = self._last.last or {}
        self._unlisted = set()
        if listing.faults:
            # A broker did not answer: what it would have listed is not gone because of that.
            return self._last.put({**last, **groups})
        # While a coordinator moves no broker lists its groups, and none says so.
        self._unlisted.update(last.keys() - groups.keys())
        groups.update(dict.fromkeys(self._unlisted, _UNLISTED))
        self._last.put(groups)
        return self._cached.put(groups)

    async def without_deleted(
        self,
        listed: Listed,
        commits: Mapping[str, Commits | Fault],
        descriptions: Descriptions,
        watch: Stopwatch,
        *,
        were_cached: bool,
    ) -> Listed:
        """The groups without those that were deleted since they were listed, as their answers tell.

        Where they `were_cached` they are listed again for one that looks so for the first time.
        """
        bare = _bare(listed, descriptions, commits)
        if were_cached and not bare <= self._known_bare:
            with watch("groups"):
                still_there = await self._ask_again(listed)
            listed = {group: found for group, found in listed.items() if group in still_there}
            self._known_bare |= bare & still_there.keys()
        self._known_bare &= bare
        return self._without_unknown(listed, commits)

    async def _ask_again(self, listed: Listed) -> Listed:
        try:
            return await self.ask()
        except ClusterUnavailable as exc:
            self._faults.record("groups", "", exc.fault)
            return listed

    def _without_unknown(self, listed: Listed, commits: Mapping[str, Commits | Fault]) -> Listed:
        """The groups without those that are listed no more and of which their coordinator knows nothing."""
        gone = {group for group in self._unlisted if _is_no_group(commits.get(group))}
        self._unlisted -= gone
        if self._unlisted:
            # Somebody lists them soon.
            self._cached.drop()
        for known in filter(None, (self._cached.last, self._last.last)):
            for group in gone:
                known.pop(group, None)
        return {group: found for group, found in listed.items() if group not in gone} if gone else listed


def _is_no_group(answer: Commits | Fault | None) -> bool:
    # One that may not be asked about any more, say, is no more listed either.
    return not answer or (isinstance(answer, Fault) and not answer.retriable)


def _bare(
    listed: Mapping[str, ListedGroup],
    descriptions: Descriptions,
    commits: Mapping[str, Commits | Fault],
) -> set[str]:
    """The groups that look deleted, or are as good as that: no member, and not a single commit."""
    return {
        name
        for name, group in listed.items()
        if commits.get(name) == {}
        and (name in descriptions.faults or not descriptions.known.get(name, group).state.has_members)
    }
