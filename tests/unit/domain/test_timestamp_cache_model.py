"""The cache against a log that is written, marked, trimmed, compacted and made anew in any order."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.unit.domain.snapshots import FAILED, NOW, T0, snapshot

from klag_trio.domain.lag import NOTHING_LEFT, FirstRecord
from klag_trio.domain.offsets import CleanupPolicy
from klag_trio.domain.time_lag import Key, TimestampCache, wanted

TTL = 60.0
GROUPS = ("app", "billing", "search")
POLICIES = (CleanupPolicy.DELETE, CleanupPolicy.COMPACT, CleanupPolicy.COMPACT | CleanupPolicy.DELETE)


class CachedReads(RuleBasedStateMachine):
    """One partition, to which anything may happen; after each event there is a cycle."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = TimestampCache(ttl=TTL, first_penalty=30.0)
        self.now = NOW
        self.topic_id = 0
        self.records: dict[int, float] = {}
        self.earliest = self.latest = 0
        self.written = 0
        self.commits: dict[str, int] = {"app": 0}
        self.read_at: dict[Key, float] = {}
        self.policy = CleanupPolicy.DELETE
        self.identified, self.policy_known, self.fails, self.grows_meanwhile = True, True, False, 0

    @initialize(policy=st.sampled_from(POLICIES))
    def configure(self, policy: CleanupPolicy) -> None:
        self.policy = policy

    @rule(count=st.integers(0, 3), markers=st.integers(0, 1))
    def write(self, count: int, markers: int) -> None:
        """Records, and then the end of a transaction."""
        for _ in range(count):
            self.written += 1
            self.records[self.latest] = float(self.written)
            self.latest += 1
        self.latest += markers

    @rule(share=st.floats(0, 1))
    def delete_records(self, share: float) -> None:
        self.earliest += round(share * (self.latest - self.earliest))
        self.records = {offset: at for offset, at in self.records.items() if offset >= self.earliest}

    @rule(victims=st.sets(st.integers(0, 12)))
    def compact(self, victims: set[int]) -> None:
        if CleanupPolicy.COMPACT in self.policy:
            last = max(self.records, default=0)
            self.records = {o: at for o, at in self.records.items() if o == last or o not in victims}

    @rule(count=st.integers(0, 5))
    def make_the_topic_anew(self, count: int) -> None:
        self.topic_id += 1
        self.records, self.earliest, self.latest = {}, 0, 0
        self.write(count, 0)

    @rule(group=st.sampled_from(GROUPS), share=st.sampled_from([0.0, 0.3, 0.7, 1.0, 1.0, 1.3]))
    def commit(self, group: str, share: float) -> None:
        self.commits[group] = round(share * self.latest)

    @rule(group=st.sampled_from(GROUPS))
    def delete_group(self, group: str) -> None:
        self.commits.pop(group, None)

    @rule(seconds=st.floats(1, 100))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        identified=st.booleans(),
        policy_known=st.booleans(),
        fails=st.booleans(),
        grows_meanwhile=st.integers(0, 2),
    )
    def be_in_trouble_for_one_cycle(
        self, identified: bool, policy_known: bool, fails: bool, grows_meanwhile: int
    ) -> None:
        self.identified, self.policy_known, self.fails = identified, policy_known, fails
        self.grows_meanwhile = grows_meanwhile

    @invariant()
    def a_cycle_tells_what_reading_would_tell(self) -> None:
        taken = snapshot(
            {T0: (self.earliest, self.latest)},
            {group: {T0: offset} for group, offset in self.commits.items()},
            now=self.now,
        )
        keys = wanted(taken, skip_data_loss=False)
        plan = self.cache.plan(
            keys,
            topic_ids={T0.topic: str(self.topic_id)} if self.identified else {},
            policies={T0.topic: self.policy} if self.policy_known else {},
            now=self.now,
        )
        assert keys.keys() == plan.known.keys() | plan.unread.keys() | plan.waiting.keys()
        assert set() == plan.known.keys() & plan.unread.keys()
        assert len(self.cache) <= len(keys)
        for key, record in plan.known.items():
            if record != self.fresh(keys[key].position):
                assert CleanupPolicy.COMPACT in self.policy
                # What cannot be read keeps its last answer.
                assert self.now - self.read_at[key] < TTL or key in plan.waiting
        self.write(self.grows_meanwhile, 0)
        for key, want in plan.unread.items():
            answer = FAILED if self.fails else self.fresh(want.position)
            topic_id = str(self.topic_id) if self.identified else None
            self.cache.store(key, want, answer, topic_id=topic_id, now=self.now)
            if self.identified and not self.fails:
                self.read_at[key] = self.now
        self.identified, self.policy_known, self.fails, self.grows_meanwhile = True, True, False, 0

    def fresh(self, position: int) -> FirstRecord:
        """What reading from there on would find."""
        offset = min((offset for offset in self.records if offset >= position), default=None)
        return NOTHING_LEFT if offset is None else FirstRecord(offset, self.records[offset])


def test_what_the_cache_tells_is_what_reading_would_tell() -> None:
    run_state_machine_as_test(
        CachedReads, settings=settings(max_examples=100, stateful_step_count=30, deadline=None)
    )
