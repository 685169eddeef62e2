"""Which groups there are, however many."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

import attrs
import trio
from confluent_kafka import ConsumerGroupType, KafkaError

from klag_trio.domain.offsets import (
    ClusterUnavailable,
    Fault,
    GroupListing,
    GroupState,
    GroupType,
    ListedGroup,
)
from klag_trio.domain.time_lag import NO_PROCESS
from klag_trio.kafka.client import Call, Client
from klag_trio.kafka.groups import raw_groups, state_of
from klag_trio.kafka.worker_process import WorkerDied, WorkerError

_TYPES: Mapping[int, GroupType] = {
    ConsumerGroupType.CONSUMER.value: GroupType.CONSUMER,
    ConsumerGroupType.CLASSIC.value: GroupType.CLASSIC,
}
_OLDER_CALL_SECONDS = 600.0


class GroupLister:
    """Lists the groups of one cluster.

    The worker lists them; where that dies of it, the older call does for ten minutes, and where it cannot be
    started for that once. That call has no limit, but knows neither a group's protocol nor, where that is the
    newer one, its state.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._older_until = 0.0

    async def groups(self) -> GroupListing:
        """Every consumer group that may be seen, with its state; partial where brokers did not answer.

        Raises:
            ClusterUnavailable: none answered.

        """
        if monotonic() < self._older_until:
            return await self._by_older_call()
        try:
            return await self._by_worker()
        except WorkerError as exc:
            if isinstance(exc, WorkerDied):
                self._older_until = monotonic() + _OLDER_CALL_SECONDS
            elif exc.fault.code != NO_PROCESS:
                fault = self._client.cause(self._client.refine(exc.fault))
                raise ClusterUnavailable("groups", fault) from None
            listing = await self._by_older_call()
            return attrs.evolve(listing, faults=(exc.fault, *listing.faults))

    async def _by_worker(self) -> GroupListing:
        listed: list[tuple[str, ListedGroup]] = []
        faults: list[Fault] = []

        def take(groups: list[Any], errors: list[Any]) -> None:
            listed.extend((name, ListedGroup(state_of(state), _type(kind))) for name, state, kind in groups)
            faults.extend(self._client.refine(Fault(*error)) for error in errors)

        within = self._client.seconds()
        try:
            await self._client.worker.ask(take, "list", within, within=within)
        except WorkerDied as exc:
            if exc.fresh:
                raise
            # It may have died of what it was asked before.
            listed.clear()
            await self._client.worker.ask(take, "list", within, within=within)
        if faults and not listed:
            raise ClusterUnavailable("groups", self._client.cause(faults[0]))
        return await trio.to_thread.run_sync(GroupListing.merged, listed, faults)

    async def _by_older_call(self) -> GroupListing:
        def ask(call: Call) -> GroupListing:
            listed: list[tuple[str, ListedGroup]] = []
            faults: list[Fault] = []
            for group in raw_groups(call.coordinators, call.remaining):
                if isinstance(group, KafkaError):
                    faults.append(self._client.fault(group))
                else:
                    # What it calls dead may as well be of the newer protocol.
                    state = GroupState.UNKNOWN if group.state is GroupState.DEAD else group.state
                    listed.append((group.name, ListedGroup(state)))
            return GroupListing.merged(listed, faults)

        return await self._client.call("groups", ask)


def _type(number: int) -> GroupType:
    return _TYPES.get(number, GroupType.UNKNOWN)
