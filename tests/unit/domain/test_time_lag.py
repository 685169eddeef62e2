"""Which timestamps are read, shared, remembered, given up for a while, or estimated."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.snapshots import FAILED, NOW, T0, T1, snapshot, snapshots

from klag_trio.domain.lag import NOTHING_LEFT, FirstRecord
from klag_trio.domain.offsets import CleanupPolicy, ClusterSnapshot, Fault, TopicPartition
from klag_trio.domain.time_lag import (
    CRASH,
    LATE,
    NO_PROCESS,
    NOT_ALONE,
    NOT_TRIED,
    Key,
    Plan,
    RateEstimator,
    TimestampCache,
    Wanted,
    positions,
    shards,
    wanted,
)

TTL = 60.0
PENALTY = 30.0
LONGEST_PENALTY = 600.0
DAY = 86_400.0
DELETE = CleanupPolicy.DELETE
COMPACT = CleanupPolicy.COMPACT
IDS = {"orders": "first"}
KEY: Key = (T0, 5)
WANT = Wanted(position=5, latest=10)
RECORD = FirstRecord(5, NOW - 100)
DENIED = Fault("TOPIC_AUTHORIZATION_FAILED", "denied")
SILENT = Fault("_TIMED_OUT", "nothing came", retriable=True)
ENTRY_BYTES = 500
"""At most what one remembered timestamp takes, its key and the rows of the dictionaries included."""


def new_cache(ttl: float = TTL) -> TimestampCache:
    return TimestampCache(ttl=ttl, first_penalty=PENALTY)


def plan(
    cache: TimestampCache,
    keys: Mapping[Key, Wanted],
    *,
    topic_ids: Mapping[str, str] = IDS,
    policies: Mapping[str, CleanupPolicy] | None = None,
    now: float = NOW,
) -> Plan:
    known_policies = {"orders": DELETE} if policies is None else policies
    return cache.plan(keys, topic_ids=topic_ids, policies=known_policies, now=now)


def cache_with(record: FirstRecord = RECORD, want: Wanted = WANT, ttl: float = TTL) -> TimestampCache:
    cache = new_cache(ttl)
    cache.store(KEY, want, record, topic_id="first", now=NOW)
    return cache


def failing_cache(fault: Fault = DENIED, times: int = 1) -> TimestampCache:
    cache = cache_with()
    for _ in range(times):
        cache.store(KEY, WANT, fault, topic_id=None, now=NOW)
    return cache


# What is wanted


def test_every_partition_with_lag_is_wanted_at_its_committed_offset() -> None:
    taken = snapshot({T0: (0, 10), T1: (3, 10)}, {"app": {T0: 4, T1: 9}})
    assert {(T0, 4): Wanted(4, 10), (T1, 9): Wanted(9, 10)} == wanted(taken, skip_data_loss=False)


@pytest.mark.parametrize("committed", [10, 11])
def test_nothing_is_wanted_where_lag_is_0(committed: int) -> None:
    assert {} == wanted(snapshot({T0: (0, 10)}, {"app": {T0: committed}}), skip_data_loss=False)


def test_groups_that_committed_at_the_same_offset_share_one_answer() -> None:
    taken = snapshot({T0: (0, 10)}, {"app": {T0: 4}, "billing": {T0: 4}, "search": {T0: 5}})
    assert {(T0, 4), (T0, 5)} == wanted(taken, skip_data_loss=False).keys()


def test_where_the_committed_record_is_gone_the_earliest_one_is_wanted() -> None:
    taken = snapshot({T0: (7, 10)}, {"app": {T0: 4}})
    assert {(T0, 4): Wanted(7, 10)} == wanted(taken, skip_data_loss=False)


def test_where_the_committed_record_is_gone_nothing_is_wanted_if_so_configured() -> None:
    taken = snapshot({T0: (7, 10), T1: (4, 10)}, {"app": {T0: 4, T1: 4}})
    assert {(T1, 4): Wanted(4, 10)} == wanted(taken, skip_data_loss=True)


@pytest.mark.parametrize("watermarks", [(None, 10), (0, None)])
def test_nothing_is_wanted_where_a_watermark_is_not_known(watermarks: tuple[int | None, int | None]) -> None:
    assert {} == wanted(snapshot({T0: watermarks}, {"app": {T0: 4}}), skip_data_loss=False)


def test_nothing_is_wanted_of_a_partition_that_the_cycle_did_not_ask_for() -> None:
    assert {} == wanted(snapshot({T1: (0, 10)}, {"app": {T0: 4}}), skip_data_loss=False)


def test_nothing_is_wanted_where_the_commit_could_not_be_read() -> None:
    assert {} == wanted(snapshot({T0: (0, 10)}, {"app": {T0: FAILED}}), skip_data_loss=False)


def test_positions_are_ascending_and_each_there_once() -> None:
    keys = {
        (T0, 9): Wanted(9, 20),
        (T0, 1): Wanted(3, 20),
        (T0, 2): Wanted(3, 20),
        (T1, 4): Wanted(4, 20),
    }
    assert {T0: [3, 9], T1: [4]} == positions(keys)


@given(snapshots(), st.booleans())
def test_what_is_wanted_lies_within_the_log_and_has_one_position_to_be_read_at(
    taken: ClusterSnapshot, skip: bool
) -> None:
    keys = wanted(taken, skip_data_loss=skip)
    for (tp, committed), want in keys.items():
        assert want.position == max(committed, taken.earliest[tp])
        assert committed < want.latest == taken.latest[tp]
    places = positions(keys)
    assert {(tp, want.position) for (tp, _), want in keys.items()} == {
        (tp, place) for tp, here in places.items() for place in here
    }


@given(
    st.dictionaries(
        st.builds(TopicPartition, st.sampled_from(["orders", "payments"]), st.integers(0, 20)),
        st.sets(st.integers(0, 200), min_size=1).map(sorted),
    ),
    st.integers(1, 12),
    st.integers(1, 10),
    st.integers(1, 40),
)
def test_readers_share_all_positions_in_order_and_no_position_twice(
    places: dict[TopicPartition, list[int]], most: int, partitions: int, length: int
) -> None:
    shared = shards(places, most=most, partitions=partitions, length=length)
    assert 1 <= len(shared) <= most
    for tp, here in places.items():
        assert here == [place for shard in shared for place in shard.get(tp, ())]
        if len(here) <= length:
            assert 1 == sum(tp in shard for shard in shared)


def test_five_hundred_offsets_of_one_partition_are_shared_by_all_readers() -> None:
    shared = shards({T0: range(500), T1: [7]}, most=10, partitions=1000, length=32)
    assert [50] * 10 == [len(shard[T0]) for shard in shared]
    assert [7] == list(shared[0][T1])


def test_many_partitions_are_shared_by_few_readers_and_neighbours_stay_together() -> None:
    places = {TopicPartition("orders", number): [7] for number in range(2500)}
    shared = shards(places, most=10, partitions=1000, length=32)
    assert [834, 833, 833] == list(map(len, shared))
    assert list(places) == [tp for shard in shared for tp in shard]
    assert [2500] == list(map(len, shards(places, most=1, partitions=1000, length=32)))


# What is remembered


def test_what_was_read_once_is_known_in_the_next_cycle() -> None:
    found = plan(cache_with(), {KEY: WANT}, now=NOW + 1)
    assert {KEY: RECORD} == found.known
    assert {} == found.unread


def test_an_idle_lagging_group_costs_no_read_for_days_in_a_topic_that_is_not_compacted() -> None:
    cache = cache_with()
    for cycle in range(10_000):
        grown = Wanted(WANT.position, WANT.latest + cycle)
        found = plan(cache, {KEY: grown}, now=NOW + cycle * PENALTY)
        assert {KEY: RECORD} == found.known
        assert {} == found.unread
        assert frozenset() == found.unsure


@pytest.mark.parametrize("policy", [COMPACT, COMPACT | DELETE], ids=["compact", "compact,delete"])
def test_a_compacted_topic_is_trusted_for_the_ttl_and_then_read_again(policy: CleanupPolicy) -> None:
    cache = cache_with()
    assert {KEY: RECORD} == plan(cache, {KEY: WANT}, policies={"orders": policy}, now=NOW + TTL - 1).known
    assert {KEY: WANT} == plan(cache, {KEY: WANT}, policies={"orders": policy}, now=NOW + TTL).unread


def test_a_topic_whose_policy_is_unknown_is_trusted_for_the_ttl_and_its_policy_is_asked_for() -> None:
    cache = cache_with()
    young = plan(cache, {KEY: WANT}, policies={}, now=NOW + TTL - 1)
    assert {KEY: RECORD} == young.known
    assert frozenset() == young.unsure
    old = plan(cache, {KEY: WANT}, policies={}, now=NOW + TTL)
    assert {KEY: WANT} == old.unread
    assert {"orders"} == old.unsure


@pytest.mark.parametrize("fault", [None, DENIED], ids=["an answer", "a penalty"])
def test_nothing_holds_any_longer_when_the_clock_was_set_back(fault: Fault | None) -> None:
    cache = cache_with() if fault is None else failing_cache(fault)
    found = plan(cache, {KEY: WANT}, policies={"orders": COMPACT}, now=NOW - DAY)
    assert ({KEY: WANT}, {}) == (found.unread, found.waiting)


def test_a_ttl_of_0_trusts_nothing_in_a_compacted_topic() -> None:
    assert {KEY: WANT} == plan(cache_with(ttl=0), {KEY: WANT}, policies={"orders": COMPACT}).unread


@pytest.mark.parametrize("topic_ids", [{"orders": "second"}, {}], ids=["made anew", "unknown"])
def test_an_answer_is_not_used_unless_the_topic_is_known_to_be_the_same(topic_ids: dict[str, str]) -> None:
    assert {KEY: WANT} == plan(cache_with(), {KEY: WANT}, topic_ids=topic_ids).unread


def test_an_answer_outlives_a_cycle_in_which_the_topic_id_could_not_be_read() -> None:
    cache = cache_with()
    plan(cache, {KEY: WANT}, topic_ids={})
    assert {KEY: RECORD} == plan(cache, {KEY: WANT}).known


def test_an_answer_without_a_topic_id_is_not_remembered() -> None:
    cache = new_cache()
    cache.store(KEY, WANT, RECORD, topic_id=None, now=NOW)
    assert 0 == len(cache)
    assert {KEY: WANT} == plan(cache, {KEY: WANT}, topic_ids={}).unread


def test_a_record_below_the_low_watermark_is_forgotten() -> None:
    assert {KEY: Wanted(6, 10)} == plan(cache_with(), {KEY: Wanted(6, 10)}).unread


def test_a_record_past_a_gap_holds_while_retention_moves_through_the_gap() -> None:
    cache = cache_with(FirstRecord(8, NOW - 100))
    assert {} == plan(cache, {KEY: Wanted(8, 10)}).unread
    assert {KEY: Wanted(9, 10)} == plan(cache, {KEY: Wanted(9, 10)}).unread


def test_only_markers_left_holds_until_the_partition_grows() -> None:
    cache = cache_with(NOTHING_LEFT)
    assert {KEY: NOTHING_LEFT} == plan(cache, {KEY: WANT}, now=NOW + DAY).known
    grown = Wanted(WANT.position, WANT.latest + 1)
    assert {KEY: grown} == plan(cache, {KEY: grown}).unread


def test_a_record_without_a_timestamp_is_remembered_too() -> None:
    cache = cache_with(FirstRecord(5, None))
    assert {KEY: FirstRecord(5, None)} == plan(cache, {KEY: WANT}, now=NOW + DAY).known


def test_a_partition_that_retention_has_emptied_needs_no_read() -> None:
    empty = Wanted(position=10, latest=10)
    assert {KEY: NOTHING_LEFT} == plan(new_cache(), {KEY: empty}).known


@pytest.mark.parametrize(
    "still_wanted",
    [{}, {(T0, 6): Wanted(6, 10)}, {(T1, 5): Wanted(5, 10)}],
    ids=["group or topic gone", "committed on", "other partition"],
)
def test_an_entry_goes_with_its_topic_its_group_or_its_offset(still_wanted: dict[Key, Wanted]) -> None:
    cache = cache_with()
    plan(cache, still_wanted)
    assert 0 == len(cache)
    assert {KEY: WANT} == plan(cache, {KEY: WANT}).unread


def test_a_remembered_timestamp_takes_little_memory() -> None:
    count = 10_000
    cache = new_cache()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            tp = TopicPartition("orders", number)
            record = FirstRecord(10**6 + number, NOW + number)
            cache.store((tp, 10**6 + number), WANT, record, topic_id="first", now=NOW)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert count == len(cache)
    assert taken / count < ENTRY_BYTES


# What failed


def test_what_failed_is_not_tried_again_at_once_and_said_to_last() -> None:
    found = plan(failing_cache(), {KEY: WANT}, policies={"orders": COMPACT}, now=NOW + PENALTY - 1)
    assert {KEY: RECORD} == found.known, "a young answer needs no second try"
    found = plan(failing_cache(), {KEY: WANT}, topic_ids={}, now=NOW + PENALTY - 1)
    assert {} == found.unread
    assert {KEY: DENIED} == found.waiting
    assert {} == found.known


def test_what_failed_keeps_its_last_answer_however_old() -> None:
    cache = cache_with()
    later = NOW + 10 * TTL
    cache.store(KEY, WANT, DENIED, topic_id=None, now=later)
    found = plan(cache, {KEY: WANT}, policies={"orders": COMPACT}, now=later + 1)
    assert {KEY: DENIED} == found.waiting
    assert {KEY: RECORD} == found.known
    assert RECORD == cache.last_known(KEY, WANT, IDS)


def test_the_last_answer_of_an_earlier_topic_of_that_name_is_not_kept() -> None:
    assert cache_with().last_known(KEY, WANT, {"orders": "second"}) is None
    assert new_cache().last_known(KEY, WANT, IDS) is None


@pytest.mark.parametrize(
    ("failures", "delay"),
    [(1, PENALTY), (2, 2 * PENALTY), (3, 4 * PENALTY), (6, LONGEST_PENALTY), (5000, LONGEST_PENALTY)],
)
def test_each_failure_doubles_the_wait_up_to_ten_minutes(failures: int, delay: float) -> None:
    cache = new_cache()
    for _ in range(failures):
        cache.store(KEY, WANT, DENIED, topic_id=None, now=NOW)
    assert {} == plan(cache, {KEY: WANT}, now=NOW + delay - 1).unread
    assert {KEY: WANT} == plan(cache, {KEY: WANT}, now=NOW + delay).unread


def test_an_answer_ends_the_wait_and_the_next_failure_begins_anew() -> None:
    cache = failing_cache(times=5)
    cache.store(KEY, WANT, RECORD, topic_id="first", now=NOW)
    assert {} == plan(cache, {KEY: WANT}).waiting
    cache.store(KEY, WANT, DENIED, topic_id=None, now=NOW)
    assert {KEY: WANT} == plan(cache, {KEY: WANT}, topic_ids={}, now=NOW + PENALTY).unread


def test_what_the_cycle_had_no_time_to_try_is_tried_in_the_next() -> None:
    cache = new_cache()
    cache.store(KEY, WANT, NOT_TRIED, topic_id=None, now=NOW)
    assert {KEY: WANT} == plan(cache, {KEY: WANT}).unread


@pytest.mark.parametrize("fault", [LATE, Fault(NO_PROCESS, "no process that reads", retriable=True)])
def test_what_could_not_be_read_for_want_of_a_process_is_tried_in_the_next_cycle(fault: Fault) -> None:
    cache = new_cache()
    cache.store(KEY, WANT, fault, topic_id=None, now=NOW)
    found = plan(cache, {KEY: WANT})
    assert ({KEY: WANT}, frozenset()) == (found.unread, found.suspects)


@pytest.mark.parametrize("fault", [SILENT, Fault(CRASH, "the process that reads ended with SIGABRT")])
def test_what_took_the_answers_of_others_is_read_alone_until_it_brings_a_record(fault: Fault) -> None:
    cache = new_cache()
    assert frozenset() == plan(cache, {KEY: WANT}).suspects
    cache.store(KEY, WANT, fault, topic_id=None, now=NOW)
    later = NOW + PENALTY
    # Wherever the group has gone meanwhile.
    moved = {(T0, 8): Wanted(8, 10)}
    for _ in range(2):
        assert {T0} == plan(cache, moved, now=later).suspects
    cache.store((T0, 8), Wanted(8, 10), RECORD, topic_id="first", now=later)
    assert frozenset() == plan(cache, moved, now=later).suspects


def test_what_kept_company_with_silence_waits_for_nothing_and_is_read_alone() -> None:
    cache = new_cache()
    cache.store(KEY, WANT, NOT_ALONE, topic_id=None, now=NOW)
    found = plan(cache, {KEY: WANT})
    assert {KEY: WANT} == found.unread
    assert {T0} == found.suspects
    cache.store(KEY, WANT, SILENT, topic_id=None, now=NOW)
    assert {} == plan(cache, {KEY: WANT}, now=NOW + PENALTY - 1).unread


def test_a_denied_topic_is_no_suspect() -> None:
    cache = new_cache()
    cache.store(KEY, WANT, DENIED, topic_id=None, now=NOW)
    assert frozenset() == plan(cache, {KEY: WANT}, now=NOW + PENALTY).suspects


def test_a_suspect_is_forgotten_with_its_partition() -> None:
    cache = new_cache()
    cache.store(KEY, WANT, SILENT, topic_id=None, now=NOW)
    plan(cache, {})
    assert frozenset() == plan(cache, {KEY: WANT}).suspects


def test_a_failure_below_the_log_says_nothing_of_where_retention_has_moved_the_position() -> None:
    cache = new_cache()
    cache.store(KEY, Wanted(6, 10), DENIED, topic_id=None, now=NOW)
    assert {KEY: Wanted(7, 10)} == plan(cache, {KEY: Wanted(7, 10)}).unread
    assert {KEY: DENIED} == plan(cache, {KEY: Wanted(6, 10)}).waiting


def test_a_failure_is_forgotten_with_its_key() -> None:
    cache = new_cache()
    cache.store(KEY, WANT, DENIED, topic_id=None, now=NOW)
    plan(cache, {})
    assert {KEY: WANT} == plan(cache, {KEY: WANT}).unread


# Mode "rate"


def rates(samples: int = 5, max_age: float = 600.0, floor: float = 0.01) -> RateEstimator:
    return RateEstimator(samples=samples, max_age=max_age, floor=floor)


def estimated_lag(
    estimator: RateEstimator, history: list[tuple[float, int | None]], committed: int = 0
) -> float | None:
    """The time lag after these cycles, each some seconds after NOW with a high watermark."""
    lag = None
    for seconds, latest in history:
        now = NOW + seconds
        record = estimator.estimate(snapshot({T0: (0, latest)}, {"app": {T0: committed}}, now=now)).get(
            (T0, committed)
        )
        lag = None if record is None or record.timestamp is None else now - record.timestamp
    return lag


def test_the_estimate_is_the_lag_over_the_growth_per_second() -> None:
    # 200 records in 10 s; 300 to go.
    assert pytest.approx(15.0) == estimated_lag(rates(), [(0, 1000), (10, 1200)], committed=900)


def test_an_estimate_flags_no_gap() -> None:
    estimator = rates()
    estimator.estimate(snapshot({T0: (0, 1000)}, {"app": {T0: 900}}))
    found = estimator.estimate(snapshot({T0: (0, 1200)}, {"app": {T0: 900}}, now=NOW + 10))
    assert 900 == found[T0, 900].offset


def test_one_sample_gives_no_estimate() -> None:
    assert estimated_lag(rates(), [(0, 1000)]) is None


@pytest.mark.parametrize("latest", [1000, 900], ids=["idle", "shrunk"])
def test_a_partition_that_does_not_grow_has_no_estimate(latest: int) -> None:
    assert estimated_lag(rates(), [(0, 1000), (10, latest)]) is None


@pytest.mark.parametrize(("growth", "known"), [(99, False), (100, True)])
def test_below_the_floor_there_is_no_estimate(growth: int, known: bool) -> None:
    lag = estimated_lag(rates(floor=1.0), [(0, 0), (100, growth)])
    assert known == (lag is not None)


def test_the_rate_spans_the_last_samples_only() -> None:
    history: list[tuple[float, int | None]] = [(0, 0), (10, 10_000), (20, 10_010), (30, 10_020)]
    assert pytest.approx(10_020.0) == estimated_lag(rates(samples=3), history)


def test_samples_that_are_too_old_are_dropped() -> None:
    history: list[tuple[float, int | None]] = [(0, 0), (10, 10_000), (100, 10_090)]
    assert pytest.approx(10_090.0) == estimated_lag(rates(max_age=90.0), history)
    assert estimated_lag(rates(max_age=50.0), [(0, 0), (100, 1000)]) is None


def test_a_partition_that_did_not_answer_once_keeps_its_history() -> None:
    history: list[tuple[float, int | None]] = [(0, 0), (10, None), (20, 200)]
    assert pytest.approx(20.0) == estimated_lag(rates(), history)


def test_a_partition_that_was_gone_begins_anew() -> None:
    estimator = rates()
    estimated_lag(estimator, [(0, 0), (10, 100)])
    estimator.estimate(snapshot({T1: (0, 100)}, {}, now=NOW + 20))
    assert estimated_lag(estimator, [(30, 200)]) is None


def test_no_estimate_is_made_where_lag_is_0() -> None:
    assert estimated_lag(rates(), [(0, 0), (10, 100)], committed=100) is None


def test_a_clock_that_stood_still_gives_no_estimate() -> None:
    assert estimated_lag(rates(), [(0, 0), (0, 100)]) is None


@given(st.lists(st.tuples(st.floats(0, 2000), st.one_of(st.none(), st.integers(0, 10**6))), min_size=1))
def test_an_estimate_is_never_negative_and_never_beyond_what_the_floor_allows(
    history: list[tuple[float, int | None]],
) -> None:
    lag = estimated_lag(rates(floor=0.5), history)
    if lag is not None:
        latest = history[-1][1]
        assert latest is not None
        assert 0 <= lag <= latest / 0.5 + 1
