"""The leader is lost in every way, over and over: never two lead, and another takes over in time."""

from __future__ import annotations

import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from tests.broker.waiting import unique, wait_until
from tests.kubernetes.accounts import Namespace
from tests.kubernetes.conftest import MakeReplica
from tests.kubernetes.replica import Replica
from tests.kubernetes.watching import Observation, Stint, Watcher, overlaps, stints, watching

SIGTERM_SECONDS = 2.0
# A revoked token is still good for as long as the API server remembers that it was.
TOKEN_CACHE_SECONDS = 10.0
RANDOM = random.Random(7)


@attrs.frozen
class Change:
    """One forced change: what was done to which leader, and when."""

    kind: str
    leader: str
    """Its address."""
    at: float
    """On CLOCK_MONOTONIC."""


@attrs.define
class Election:
    """Some replicas, a watcher, and what was done to them."""

    namespace: Namespace
    replicas: list[Replica]
    watcher: Watcher
    duration: int
    tokens: dict[str, str]
    """The Secret that each replica's token is bound to."""
    changes: list[Change] = attrs.field(factory=list)

    def leader(self) -> Replica:
        """The one that leads, once there is one and every other stands by."""

        def settled() -> Replica | None:
            said = [replica.leads() for replica in self.replicas]
            return self.replicas[said.index(True)] if said.count(True) == 1 and None not in said else None

        found = wait_until(settled, "one leads and all others stand by", 60.0)
        assert found is not None
        return found

    def force(self, kind: str) -> None:
        """Take the lead from who has it, wait until somebody has it again, and repair what was broken."""
        leader = self.leader()
        # At any moment between two renewals.
        time.sleep(RANDOM.random() * self.duration / 7)
        self.changes.append(Change(kind, leader.address, time.monotonic()))
        getattr(self, kind)(leader)

    def another_leads(self, leader: Replica, seconds: float) -> None:
        others = [replica for replica in self.replicas if replica is not leader]
        wait_until(lambda: any(other.leads() for other in others), "another leads", seconds)

    def sigkill(self, leader: Replica) -> None:
        leader.send(signal.SIGKILL)
        leader.wait()
        self.another_leads(leader, self.duration + 10)
        leader.start()

    def sigterm(self, leader: Replica) -> None:
        leader.send(signal.SIGTERM)
        self.another_leads(leader, self.duration + 10)
        assert 0 == leader.wait()
        leader.start()

    def sigstop(self, leader: Replica) -> None:
        leader.send(signal.SIGSTOP)
        try:
            self.another_leads(leader, self.duration + 10)
        finally:
            leader.send(signal.SIGCONT)

    def api_frozen(self, leader: Replica) -> None:
        self.namespace.plane.freeze_api()
        try:
            self.nobody_leads()
        finally:
            self.namespace.plane.thaw_api()

    def api_killed(self, leader: Replica) -> None:
        self.namespace.plane.kill_api()
        try:
            self.nobody_leads()
        finally:
            self.namespace.plane.start_api()

    def nobody_leads(self) -> None:
        wait_until(
            lambda: not any(replica.leads() for replica in self.replicas),
            "nobody leads without the API",
            self.duration + 1,
        )

    def token_revoked(self, leader: Replica) -> None:
        self.namespace.revoke(self.tokens[leader.name])
        self.another_leads(leader, self.duration + TOKEN_CACHE_SECONDS + 10)
        self.tokens[leader.name] = unique("token")
        (leader.folder / "token").write_text(self.namespace.token(self.tokens[leader.name]))


@pytest.fixture
def elect(replica: MakeReplica, namespace: Namespace, tmp_path: Path) -> Iterator[Callable[..., Election]]:
    with watching(tmp_path) as watcher:

        def start(count: int, *, duration: int, grace: int) -> Election:
            replicas, tokens = [], {}
            for name in ("one", "two", "three")[:count]:
                tokens[name] = unique("token")
                token = namespace.token(tokens[name])
                replicas.append(replica(name, token=token, duration=duration, grace=grace))
            for one in replicas:
                one.start()
                watcher.watch(one.address)
            return Election(namespace, replicas, watcher, duration, tokens)

        yield start


def assert_never_two(seen: list[Observation]) -> list[Stint]:
    found = stints(seen)
    at_once = [
        (one.address, one.first, one.last, other.address, other.first, other.last)
        for one, other in overlaps(found)
    ]
    assert [] == at_once
    # Both questions were answered with yes by somebody.
    assert {"/leader", "/metrics"} == {stint.asked for stint in found}
    return found


def takeover(change: Change, found: list[Stint], asked: str = "/leader") -> float:
    """Seconds until another replica was seen to lead, or to serve lag."""
    after = [
        stint.first - change.at
        for stint in found
        if stint.asked == asked and stint.address != change.leader and stint.first > change.at
    ]
    return min(after)


def report(changes: list[Change], found: list[Stint], seen: list[Observation]) -> None:
    """Tell the figures for docs/high-availability.md; pytest shows them with -s."""
    times: dict[str, list[float]] = {}
    for change in changes:
        if not change.kind.startswith("api"):
            times.setdefault(change.kind, []).append(takeover(change, found))
    print(f"{len(changes)} changes, {len(seen)} answers, no two leaders")  # noqa: T201
    for kind, taken in times.items():
        middle, longest = statistics.median(taken), max(taken)
        print(f"{kind}: {len(taken)} times, median {middle:.2f} s, longest {longest:.2f} s")  # noqa: T201


TWO = {"sigkill": 8, "sigterm": 8, "sigstop": 7, "api_frozen": 2, "api_killed": 1, "token_revoked": 1}
THREE = {"sigkill": 7, "sigterm": 7, "sigstop": 6, "api_frozen": 2, "api_killed": 1, "token_revoked": 1}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("count", "kinds"), [(2, TWO), (3, THREE)])
def test_with_a_lease_of_3_seconds_there_are_never_two_leaders(
    elect: Callable[..., Election], count: int, kinds: dict[str, int]
) -> None:
    changes = [kind for kind, times in kinds.items() for _ in range(times)]
    check(elect(count, duration=3, grace=1), RANDOM.sample(changes, len(changes)))


@pytest.mark.timeout(400)
def test_with_a_lease_of_15_seconds_there_are_never_two_leaders(elect: Callable[..., Election]) -> None:
    check(elect(2, duration=15, grace=5), ["sigkill", "sigterm", "sigstop", "api_frozen", "sigkill"])


def check(election: Election, kinds: list[str]) -> None:
    for kind in kinds:
        election.force(kind)
    election.leader()
    # The last leader has to serve lag as well.
    wait_until(
        lambda: any(
            "kafka_consumergroup_group_sum_lag{" in (one.get("/metrics") or (0, ""))[1]
            for one in election.replicas
        ),
        "lag is served again",
    )
    seen = election.watcher.stop()
    found = assert_never_two(seen)
    report(election.changes, found, seen)
    bounds = {"sigterm": SIGTERM_SECONDS, "sigkill": election.duration + 2.0}
    late = {
        (change.kind, round(taken, 2))
        for change in election.changes
        if (bound := bounds.get(change.kind)) and (taken := takeover(change, found)) >= bound
    }
    assert set() == late
