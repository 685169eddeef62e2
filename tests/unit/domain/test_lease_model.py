"""Several candidates on one Lease: whatever clocks, the network and the processes do, never two lead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf

import attrs
import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from klag_trio.domain.lease import (
    Action,
    Candidate,
    Lease,
    View,
    claim,
    decide,
    leads_until,
    observe,
    release,
)

DURATION, GRACE = 10, 2
# A term on the slowest clock is over before a lease is on the fastest: 8 / 0.95 < 10 / 1.05.
RATES = st.floats(0.95, 1.05)
WALL = datetime(2026, 11, 24, tzinfo=UTC)
# Stuck, in the past, in the future: nothing may hang on it.
WALL_CLOCKS = st.sampled_from([WALL, WALL, WALL - timedelta(days=9), WALL + timedelta(days=9)])
REPLICAS = st.integers(0, 2)
DELAYS = st.sampled_from([0.0, 0.0, 0.5, 3.0, inf])


@attrs.define(eq=False)
class Message:
    """A request on its way to the API server, or its answer on the way back."""

    sender: Replica
    process: str
    sent: float
    """On the sender's clock."""
    write: Lease | None
    answered: bool = False
    answer: Lease | None = None
    conflict: bool = False
    releases: bool = False


@attrs.define(eq=False)
class Replica:
    me: Candidate
    offset: float
    rate: float
    view: View | None = None
    until: float | None = None
    waits_for: Message | None = None

    def clock(self, time: float) -> float:
        return self.offset + self.rate * time


class Election(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.version = 0
        self.stored: Lease | None = None
        self.replicas: list[Replica] = []
        self.network: list[Message] = []
        self.started = 0

    @initialize(
        clocks=st.lists(st.tuples(st.floats(0, 1e6), RATES), min_size=3, max_size=3), one_name=st.booleans()
    )
    def start(self, clocks: list[tuple[float, float]], one_name: bool) -> None:
        for offset, rate in clocks:
            self.replicas.append(Replica(self.candidate("same" if one_name else None), offset, rate))

    def candidate(self, identity: str | None) -> Candidate:
        self.started += 1
        return Candidate(identity or f"pod-{self.started}", f"process-{self.started}", DURATION, GRACE)

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 4.0, 7.9, 8.0, 9.9, 12.0]))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule(index=REPLICAS, there=DELAYS, back=DELAYS)
    def look(self, index: int, there: float, back: float) -> None:
        self.deliver(self.send(self.replicas[index], None), there, back)

    @rule(index=REPLICAS, wall=WALL_CLOCKS, there=DELAYS, back=DELAYS)
    def act(self, index: int, wall: datetime, there: float, back: float) -> None:
        self.deliver(self.decide_and_write(index, wall), there, back)

    @rule(index=REPLICAS, wall=WALL_CLOCKS)
    def look_and_act(self, index: int, wall: datetime) -> None:
        """What a replica does all the time, at once."""
        self.look(index, 0.0, 0.0)
        self.act(index, wall, 0.0, 0.0)

    def deliver(self, message: Message | None, there: float, back: float) -> None:
        """Let a request arrive and be answered so much later; one that takes long is still under way."""
        if message is None or there == inf:
            return
        self.time += there
        self.process(message)
        if back < inf:
            self.time += back
            self.take(message)

    def decide_and_write(self, index: int, wall: datetime) -> Message | None:
        """Do what is decided about the last look, however long ago that was."""
        replica = self.replicas[index]
        if replica.view is None:
            return None
        now = replica.clock(self.time)
        leading = replica.until if self.leads(replica) else None
        match decide(replica.view, replica.me, leads_until=leading, now=now):
            case Action.ACQUIRE | Action.RENEW:
                return self.send(replica, claim(replica.view.lease, replica.me, wall))
            case Action.STEP_DOWN:
                replica.until = None
        return None

    @rule(index=REPLICAS, wall=WALL_CLOCKS)
    def give_back(self, index: int, wall: datetime) -> None:
        replica = self.replicas[index]
        if replica.view is None or replica.view.lease is None or not replica.me.holds(replica.view.lease):
            return
        replica.until = None
        replica.waits_for = None
        self.send(replica, release(replica.view.lease, wall))

    def send(self, replica: Replica, lease: Lease | None) -> Message | None:
        """Send a request, unless one is under way."""
        if replica.waits_for is not None:
            return None
        message = Message(replica, replica.me.process, replica.clock(self.time), lease)
        message.releases = lease is not None and not lease.holder
        replica.waits_for = message
        self.network.append(message)
        return message

    @rule(index=st.integers(0, 9))
    def arrive(self, index: int) -> None:
        """The API server gets a message, maybe long after its sender stopped waiting for the answer."""
        waiting = [message for message in self.network if not message.answered]
        if waiting:
            self.process(waiting[index % len(waiting)])

    def process(self, message: Message) -> None:
        if message.answered:
            return
        message.answered = True
        if message.write is not None:
            stored = "" if self.stored is None else self.stored.version
            message.conflict = message.write.version != stored
            if not message.conflict:
                self.version += 1
                self.stored = attrs.evolve(message.write, version=str(self.version))
        message.answer = self.stored

    @rule(index=st.integers(0, 9))
    def answer(self, index: int) -> None:
        answers = [message for message in self.network if message.answered]
        if answers:
            self.take(answers[index % len(answers)])

    def take(self, message: Message) -> None:
        self.network.remove(message)
        replica = message.sender
        if replica.waits_for is not message or replica.me.process != message.process:
            return
        replica.waits_for = None
        now = replica.clock(self.time)
        if message.write is None:
            replica.view = observe(replica.view, message.answer, now)
        elif not message.conflict and not message.releases:
            replica.view = View(message.answer, now)
            replica.until = leads_until(message.sent, replica.me)

    @rule(index=REPLICAS)
    def lose_patience(self, index: int) -> None:
        self.replicas[index].waits_for = None

    @rule(index=st.integers(0, 9))
    def lose_a_message(self, index: int) -> None:
        if self.network:
            del self.network[index % len(self.network)]

    @rule(index=REPLICAS)
    def restart(self, index: int) -> None:
        """A container that starts again has the name of its pod, and nothing else of its past."""
        old = self.replicas[index]
        self.replicas[index] = Replica(self.candidate(old.me.identity), old.offset, old.rate)

    def leads(self, replica: Replica) -> bool:
        return replica.until is not None and replica.clock(self.time) < replica.until

    @invariant()
    def at_most_one_leads(self) -> None:
        assert sum(map(self.leads, self.replicas)) <= 1


def play(elections: int) -> None:
    run_state_machine_as_test(
        Election, settings=settings(max_examples=elections, stateful_step_count=40, deadline=None)
    )


def test_there_are_never_two_leaders() -> None:
    play(50)


def test_the_model_sees_a_leader_at_all() -> None:
    election = Election()
    election.start([(0.0, 1.0)] * 3, one_name=False)
    election.look_and_act(0, WALL)
    assert election.leads(election.replicas[0])
    election.wait(8.0)
    assert not election.leads(election.replicas[0])
