"""What klag-trio serves about a real Kafka, against what the test itself wrote and committed there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal

import attrs
import pytest
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import OF_THIS_PROCESS, unique
from tests.program.program import Page, Program, config_text, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Kafka

# They share a program.
pytestmark = pytest.mark.xdist_group("collection")

CLUSTER = "main"
OFFSET = "kafka_consumergroup_group_offset"
LAG = "kafka_consumergroup_group_lag"
LOST = "kafka_consumergroup_group_messages_lost"
MARGIN = "kafka_consumergroup_group_retention_margin"
RATIO = "kafka_consumergroup_group_lag_retention_ratio"
MAX_LAG = "kafka_consumergroup_group_max_lag"
SUM_LAG = "kafka_consumergroup_group_sum_lag"
TOPIC_LAG = "kafka_consumergroup_group_topic_sum_lag"
STATE = "kafka_consumergroup_group_state"
EARLIEST = "kafka_partition_earliest_offset"
LATEST = "kafka_partition_latest_offset"
DATA_LOSS = "kafka_lag_exporter_data_loss_partitions_total"
STABLE, EMPTY = 3, 5

Rows = dict[tuple[str, int], float]


@attrs.frozen
class Stage:
    """A broker and a klag-trio that watches it."""

    driver: KafkaDriver
    program: Program


@contextmanager
def stage_on(kafka: Kafka, factory: pytest.TempPathFactory) -> Iterator[Stage]:
    # Other workers' tests have names of their own.
    cluster = {
        "name": CLUSTER,
        "bootstrap_servers": kafka.bootstrap_servers,
        "topic_whitelist": [OF_THIS_PROCESS],
        "group_whitelist": [OF_THIS_PROCESS],
    }
    with (
        KafkaDriver(kafka.bootstrap_servers) as driver,
        running(factory.mktemp("program"), config_text([cluster])) as program,
    ):
        yield Stage(driver, program)


@pytest.fixture(scope="module")
def stage(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage_on(kafka, tmp_path_factory) as stage:
        yield stage


@pytest.fixture(scope="module")
def oldest_stage(oldest_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage_on(oldest_kafka, tmp_path_factory) as stage:
        yield stage


@pytest.fixture(params=["stage", pytest.param("oldest_stage", marks=pytest.mark.other_version)])
def either_stage(request: pytest.FixtureRequest) -> Stage:
    """The contract suite shows that every answer of an old broker is understood; here, that it is served."""
    found: Stage = request.getfixturevalue(request.param)
    return found


def rows(page: Page, name: str, group: str) -> Rows:
    return page.by_partition(name, cluster_name=CLUSTER, group=group)


def lags(page: Page, group: str) -> Rows:
    return rows(page, LAG, group)


def owners(page: Page, group: str) -> dict[tuple[str, int], tuple[str, str, str]]:
    """Host, consumer id and client id by partition, the same on every family that carries them."""
    found = []
    for name in (OFFSET, LAG, LOST, MARGIN, RATIO):
        told = [dict(labels) for labels in page.rows(name, cluster_name=CLUSTER, group=group)]
        found.append(
            {
                (t["topic"], int(t["partition"])): (
                    t["member_host"].lstrip("/"),
                    t["consumer_id"],
                    t["client_id"],
                )
                for t in told
            }
        )
    assert [found[0]] * len(found) == found
    return found[0]


def aggregates(page: Page, group: str) -> dict[str, float | None]:
    return {name: page.value(name, cluster_name=CLUSTER, group=group) for name in (MAX_LAG, SUM_LAG, STATE)}


# Groups


def test_an_empty_group_lags_by_what_it_did_not_commit(either_stage: Stage) -> None:
    driver, program, group = either_stage.driver, either_stage.program, unique("empty")
    topic = driver.create_topic(unique("topic"), partitions=3)
    other = driver.create_topic(unique("other"))
    written = {(topic, 0): 5, (topic, 1): 3, (topic, 2): 4, (other, 0): 7}
    committed = {(topic, 0): 2, (topic, 1): 3, (other, 0): 1}
    for (name, partition), n in written.items():
        driver.produce(name, partition, n)
    driver.commit(group, committed)
    lag = {tp: written[tp] - offset for tp, offset in committed.items()}
    program.shows(lag, partial(lags, group=group))

    page = program.metrics()
    # Nothing was committed in the third partition: none of the families says anything about it.
    assert committed == rows(page, OFFSET, group)
    assert dict.fromkeys(committed, 0) == rows(page, LOST, group)
    assert committed == rows(page, MARGIN, group)
    assert {tp: 100 * n / written[tp] for tp, n in lag.items()} == rows(page, RATIO, group)
    assert dict.fromkeys(committed, ("", "", "")) == owners(page, group)
    assert {
        MAX_LAG: max(lag.values()),
        SUM_LAG: sum(lag.values()),
        STATE: EMPTY,
    } == aggregates(page, group)
    for name, sum_lag in {topic: lag[topic, 0] + lag[topic, 1], other: lag[other, 0]}.items():
        assert sum_lag == page.value(TOPIC_LAG, cluster_name=CLUSTER, group=group, topic=name)
        watermarks = {tp: n for tp, n in written.items() if tp[0] == name}
        assert watermarks == page.by_partition(LATEST, cluster_name=CLUSTER, topic=name)
        assert dict.fromkeys(watermarks, 0) == page.by_partition(EARLIEST, cluster_name=CLUSTER, topic=name)


def consume_with_labels(stage: Stage, protocol: Literal["classic", "consumer"]) -> None:
    driver, program, group = stage.driver, stage.program, unique(protocol)
    topic = driver.create_topic(unique("topic"), partitions=2)
    driver.produce(topic, 0, 6)
    with driver.consuming(group, [topic], protocol=protocol, client_id="the-client") as member:
        committed = {(topic, 0): 4, (topic, 1): 0}
        member.commit(committed)
        owner = ("127.0.0.1", member.member_id, "the-client")
        program.shows(dict.fromkeys(committed, owner), partial(owners, group=group))
        page = program.metrics()
        assert committed == rows(page, OFFSET, group)
        assert {(topic, 0): 2, (topic, 1): 0} == lags(page, group)
        assert {MAX_LAG: 2, SUM_LAG: 2, STATE: STABLE} == aggregates(page, group)
    # The group outlives its member, and so does its lag.
    program.shows(dict.fromkeys(committed, ("", "", "")), partial(owners, group=group))
    program.shows({MAX_LAG: 2, SUM_LAG: 2, STATE: EMPTY}, partial(aggregates, group=group))


def test_a_classic_group_has_its_members_labels(either_stage: Stage) -> None:
    consume_with_labels(either_stage, "classic")


def test_a_kip_848_group_has_its_members_labels(stage: Stage) -> None:
    consume_with_labels(stage, "consumer")


def test_each_partition_has_the_labels_of_its_own_member(stage: Stage) -> None:
    driver, program, group = stage.driver, stage.program, unique("shared")
    topic = driver.create_topic(unique("topic"), partitions=2)
    driver.commit(group, {(topic, 0): 0, (topic, 1): 0})

    def clients(page: Page) -> list[str]:
        return sorted(client for _, _, client in owners(page, group).values())

    quick = {"heartbeat.interval.ms": 200}
    with driver.consuming(group, [topic], client_id="first", properties=quick):
        program.shows(["first", "first"], clients)
        with driver.consuming(group, [topic], client_id="second", properties=quick):
            program.shows(["first", "second"], clients)
        program.shows(["first", "first"], clients)


def test_a_member_without_a_commit_has_a_state_but_no_lag(stage: Stage) -> None:
    driver, program, group = stage.driver, stage.program, unique("fresh")
    topic = driver.create_topic(unique("topic"))
    driver.produce(topic, 0, 3)
    with driver.consuming(group, [topic]):
        program.shows({MAX_LAG: None, SUM_LAG: None, STATE: STABLE}, partial(aggregates, group=group))
        page = program.metrics()
        assert {} == rows(page, OFFSET, group)
        assert {} == page.rows(TOPIC_LAG, cluster_name=CLUSTER, group=group)


def test_a_deleted_group_is_gone(stage: Stage) -> None:
    driver, program, group = stage.driver, stage.program, unique("deleted")
    topic = driver.create_topic(unique("topic"))
    driver.commit(group, {(topic, 0): 0})
    program.shows({(topic, 0): 0}, partial(lags, group=group))
    driver.delete_group(group)
    page = program.next_cycle(CLUSTER)
    assert group not in page.text


def test_a_group_name_comes_out_as_it_is(stage: Stage) -> None:
    driver, program = stage.driver, stage.program
    group = unique('odd "quoted" back\\slash new\nline \N{SNOWMAN} \N{OLD ITALIC LETTER A} {a="b"} ')
    topic = driver.create_topic(unique("topic"))
    driver.commit(group, {(topic, 0): 0})
    program.shows({(topic, 0): 0}, partial(lags, group=group))


# Commits and watermarks


def test_a_commit_beyond_the_end_lags_by_nothing_and_is_counted(stage: Stage) -> None:
    driver, program, group = stage.driver, stage.program, unique("beyond")
    topic = driver.create_topic(unique("topic"))
    driver.produce(topic, 0, 4)
    clamped = partial(Page.value, name="klag_negative_lag_clamped_total", cluster_name=CLUSTER)
    before = clamped(program.metrics()) or 0
    driver.commit(group, {(topic, 0): 10})
    program.shows({(topic, 0): 10}, lambda page: rows(page, OFFSET, group))
    page = program.metrics()
    assert {(topic, 0): 0} == lags(page, group)
    assert {(topic, 0): 10} == rows(page, MARGIN, group)
    assert {(topic, 0): 0} == rows(page, RATIO, group)
    assert {(topic, 0): 0} == rows(page, LOST, group)
    assert (clamped(page) or 0) > before
    # The log comes up to the commit and past it.
    driver.produce(topic, 0, 8)
    program.shows({(topic, 0): 4 + 8 - 10}, partial(lags, group=group))
    driver.delete_group(group)


def test_an_offset_beyond_2_to_the_53_is_exact(stage: Stage) -> None:
    driver, program, group = stage.driver, stage.program, unique("far-out")
    topic = driver.create_topic(unique("topic"))
    offset = 2**53 + 1
    driver.commit(group, {(topic, 0): offset})

    def as_written(page: Page) -> list[str]:
        lines = [line for line in page.text.splitlines() if line.startswith(OFFSET) and group in line]
        return [line.rpartition(" ")[2] for line in lines]

    program.shows([str(offset)], as_written)
    driver.delete_group(group)


def test_what_retention_took_before_the_group_came_to_it_is_lost(either_stage: Stage) -> None:
    driver, program, group = either_stage.driver, either_stage.program, unique("overtaken")
    topic = driver.create_topic(unique("topic"), partitions=2)
    for partition in (0, 1):
        driver.produce(topic, partition, 100)
    driver.commit(group, {(topic, 0): 20, (topic, 1): 60})
    program.shows({(topic, 0): 80, (topic, 1): 40}, partial(lags, group=group))
    affected = program.metrics().value(DATA_LOSS, cluster_name=CLUSTER)
    assert affected is not None
    for partition in (0, 1):
        driver.delete_records(topic, partition, 50)

    lost = program.shows({(topic, 0): 50 - 20, (topic, 1): 0}, lambda page: rows(page, LOST, group))
    assert {0, 30} >= {row[topic, 0] for row in lost if row}
    # That cycle may have come between the two deletions.
    page = program.next_cycle(CLUSTER)
    assert {(topic, 0): 80, (topic, 1): 40} == lags(page, group)
    assert {(topic, 0): 20 - 50, (topic, 1): 60 - 50} == rows(page, MARGIN, group)
    assert {(topic, 0): 100 * 80 / 50, (topic, 1): 100 * 40 / 50} == rows(page, RATIO, group)
    assert affected + 1 == page.value(DATA_LOSS, cluster_name=CLUSTER)

    # Retention takes the rest: nothing is left to divide by.
    driver.delete_records(topic, 0, 100)
    program.shows({(topic, 0): 100 - 20, (topic, 1): 0}, lambda page: rows(page, LOST, group))
    page = program.metrics()
    assert {(topic, 0): 100 + 100 * 80, (topic, 1): 80} == rows(page, RATIO, group)
    assert {(topic, 0): 80, (topic, 1): 40} == lags(page, group)

    # The group goes on from where the log begins.
    driver.commit(group, {(topic, 0): 100})
    program.shows({(topic, 0): 0, (topic, 1): 0}, lambda page: rows(page, LOST, group))
    page = program.metrics()
    assert {(topic, 0): 0, (topic, 1): 80} == rows(page, RATIO, group)
    assert affected == page.value(DATA_LOSS, cluster_name=CLUSTER)


@pytest.mark.parametrize(("policy", "lost"), [("compact", 0), ("compact,delete", 30)])
def test_only_a_topic_that_deletes_loses_records(stage: Stage, policy: str, lost: int) -> None:
    driver, program, group = stage.driver, stage.program, unique("policy")
    topic = driver.create_topic(unique("topic"))
    driver.produce(topic, 0, 100, key=lambda i: b"%d" % i)
    driver.commit(group, {(topic, 0): 20})
    # Kafka deletes no records of a compacted topic: it becomes one afterwards.
    driver.delete_records(topic, 0, 50)
    driver.configure_topic(topic, {"cleanup.policy": policy})
    expected = {(topic, 0): lost}, {(topic, 0): 20 - 50}
    program.shows(expected, lambda page: (rows(page, LOST, group), rows(page, MARGIN, group)))
    assert {(topic, 0): 80} == lags(program.metrics(), group)
    driver.delete_group(group)


def test_the_lag_on_a_compacted_topic_counts_offsets(stage: Stage) -> None:
    driver, program, group = stage.driver, stage.program, unique("compacted")
    topic = driver.create_topic(unique("topic"), config={"cleanup.policy": "compact"})
    left = driver.compact(topic)
    earliest, latest = driver.watermarks(topic)
    first = left[0][0]
    assert earliest < first
    driver.commit(group, {(topic, 0): earliest})
    program.shows({(topic, 0): latest - earliest}, partial(lags, group=group))
    assert {(topic, 0): 0} == rows(program.metrics(), LOST, group)


# Topics that come, go and change


def test_commits_on_a_deleted_topic_are_gone_and_the_others_stay(stage: Stage) -> None:
    driver, program, group = stage.driver, stage.program, unique("widowed")
    kept, dropped = driver.create_topic(unique("kept")), driver.create_topic(unique("dropped"))
    for topic in (kept, dropped):
        driver.produce(topic, 0, 3)
    driver.commit(group, {(kept, 0): 1, (dropped, 0): 2})
    program.shows({(kept, 0): 2, (dropped, 0): 1}, partial(lags, group=group))
    driver.delete_topic(dropped)
    page = program.next_cycle(CLUSTER)
    assert {(kept, 0): 2} == lags(page, group)
    assert {MAX_LAG: 2, SUM_LAG: 2, STATE: EMPTY} == aggregates(page, group)
    assert dropped not in page.text


def test_a_topic_made_again_under_its_name_is_a_new_one(stage: Stage) -> None:
    driver, program, group = stage.driver, stage.program, unique("reborn")
    topic = driver.create_topic(unique("topic"), partitions=2)
    driver.produce(topic, 0, 10)
    driver.produce(topic, 1, 10)
    driver.commit(group, {(topic, 0): 8, (topic, 1): 3})
    program.shows({(topic, 0): 2, (topic, 1): 7}, partial(lags, group=group))
    driver.delete_topic(topic)
    driver.create_topic(topic)
    driver.produce(topic, 0, 5)
    driver.commit(group, {(topic, 0): 1})
    seen = program.shows({(topic, 0): 4}, partial(lags, group=group))
    # Nothing on the way is a mixture of the old commits and the new log but for lag that is clamped to 0; of
    # the old topic either partition may have been gone first.
    old: list[Rows] = [{(topic, 0): 2, (topic, 1): 7}, {(topic, 0): 2}, {(topic, 1): 7}]
    allowed: list[Rows] = [{}, {(topic, 0): 0}, *old, {(topic, 0): 4}]
    assert [] == [lag for lag in seen if lag not in allowed]
    page = program.metrics()
    assert {(topic, 0): 5} == page.by_partition(LATEST, cluster_name=CLUSTER, topic=topic)
    assert {(topic, 0): 0} == rows(page, LOST, group)


def test_partitions_added_at_run_time_are_found(stage: Stage) -> None:
    driver, program, group = stage.driver, stage.program, unique("growing")
    topic = driver.create_topic(unique("topic"))
    driver.commit(group, {(topic, 0): 0})
    program.shows({(topic, 0): 0}, partial(lags, group=group))
    driver.create_partitions(topic, 3)
    driver.produce(topic, 2, 4)
    driver.commit(group, {(topic, 2): 1})
    program.shows({(topic, 0): 0, (topic, 2): 3}, partial(lags, group=group))
    page = program.metrics()
    assert {(topic, 0): 0, (topic, 1): 0, (topic, 2): 4} == page.by_partition(
        LATEST, cluster_name=CLUSTER, topic=topic
    )


def test_new_groups_and_topics_are_seen_when_their_cache_times_are_over(
    kafka: Kafka, driver: KafkaDriver, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prefix = unique("later")
    driver.create_topic(f"{prefix}-first")
    caches = {"metadata_cache_ttl": "2s", "consumer_groups_cache_ttl": "2s"}
    text = config_text(
        [
            {
                "name": CLUSTER,
                "bootstrap_servers": kafka.bootstrap_servers,
                "topic_whitelist": [f"^{prefix}"],
                "group_whitelist": [f"^{prefix}"],
            }
        ],
        {"performance": caches},
    )
    with running(tmp_path_factory.mktemp("program"), text) as program:
        program.shows(1, lambda page: len(page.rows(LATEST)))
        topic = driver.create_topic(f"{prefix}-topic")
        driver.produce(topic, 0, 2)
        driver.commit(f"{prefix}-group", {(topic, 0): 1})
        program.shows({(topic, 0): 1}, partial(lags, group=f"{prefix}-group"))


# Whole clusters


def test_a_filter_that_leaves_nothing_leaves_a_cluster_that_is_up(
    kafka: Kafka, driver: KafkaDriver, tmp_path_factory: pytest.TempPathFactory
) -> None:
    driver.commit(unique("unwanted"), {(driver.create_topic(unique("unwanted")), 0): 0})
    nothing = ["^nothing is called so$"]
    cluster = {
        "name": CLUSTER,
        "bootstrap_servers": kafka.bootstrap_servers,
        "topic_whitelist": nothing,
        "group_whitelist": nothing,
    }
    with running(tmp_path_factory.mktemp("program"), config_text([cluster])) as program:
        page = program.next_cycle(CLUSTER)
        assert 1 == page.value("klag_cluster_up", cluster_name=CLUSTER)
        assert 1 == page.value("kafka_lag_exporter_up")
        assert (200, "ready") == (program.get("/ready")[0], program.get("/ready")[1].strip())
        assert "kafka_consumergroup_group" not in page.text
        assert {} == page.rows(LATEST)
        assert {} == page.rows("klag_errors_total")


def test_300_groups_each_have_their_own_lag(
    kafka: Kafka, driver: KafkaDriver, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prefix = unique("crowd")
    topic = driver.create_topic(f"{prefix}-topic", partitions=2)
    driver.produce(topic, 0, 300)
    committed = {f"{prefix}-{number:03}": {(topic, 0): number} for number in range(300)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(driver.commit, committed, committed.values()))
    cluster = {
        "name": CLUSTER,
        "bootstrap_servers": kafka.bootstrap_servers,
        "topic_whitelist": [f"^{prefix}"],
        "group_whitelist": [f"^{prefix}"],
    }
    with running(tmp_path_factory.mktemp("program"), config_text([cluster])) as program:
        program.shows(300, lambda page: len(page.rows(LAG)))
        page = program.metrics()
        seen = {dict(labels)["group"]: lag for labels, lag in page.rows(LAG).items()}
        assert {f"{prefix}-{number:03}": 300 - number for number in range(300)} == seen
        sums = {dict(labels)["group"]: lag for labels, lag in page.rows(SUM_LAG).items()}
        assert seen == sums
        assert {} == page.rows("klag_errors_total")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(driver.delete_group, committed))
