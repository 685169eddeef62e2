"""What a stranger writes into a cluster ends, freezes and blinds nothing, there and in another cluster."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.broker.driver import KafkaDriver
from tests.broker.stranger import assignment, owning, write_gzip_of_two_members
from tests.broker.waiting import unique, wait_until
from tests.program.hostile import LAG, TIME_LAG, Clusters, watching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Kafka

pytestmark = pytest.mark.xdist_group("strangers")

MALFORMED = {
    "a single byte": b"\0",
    "more topics than bytes": bytes.fromhex("0000 7fffffff"),
    "fewer than no topics": bytes.fromhex("0000 ffffffff"),
    "fewer than no bytes of a topic": bytes.fromhex("0000 00000001 8000"),
    "more partitions than bytes": bytes.fromhex("0000 00000001 0001 61 7fffffff 00000000"),
    "a version below 0": bytes.fromhex("ffff 00000000"),
}
WELL_FORMED = {
    "a topic that is no UTF-8": assignment({b"\xff\xfe": [0]}),
    "a topic with a NUL": assignment({b"a\0b": [0]}),
    "a long topic": assignment({b"t" * 32_000: [0]}),
    "partitions that no topic has": assignment({b"no-such-topic": [-1, 0, 2**31 - 1]}),
    "a partition many times": assignment({b"no-such-topic": [0] * 100_000}),
    "a version to come": assignment({b"no-such-topic": [0]}, version=9),
}


@pytest.fixture(scope="module")
def clusters(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    with watching(kafka, tmp_path_factory.mktemp("strangers")) as made:
        yield made


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_an_assignment_that_is_none_costs_the_members_of_its_group(clusters: Clusters, raw: bytes) -> None:
    group = clusters.group(unique("malformed"))
    before = clusters.errors("members").get("_BAD_MSG", 0)
    with owning(clusters.kafka.bootstrap_servers, group, raw):
        clusters.survive()
        assert before < clusters.errors("members")["_BAD_MSG"]
    wait_until(
        lambda: any(group.decode() == entry.get("subject") for entry in clusters.program.log()),
        "its group is named in the log",
    )


@pytest.mark.parametrize("raw", WELL_FORMED.values(), ids=WELL_FORMED.keys())
def test_an_assignment_of_what_does_not_exist_is_no_error(clusters: Clusters, raw: bytes) -> None:
    # A cycle may still be under way that has seen the member of an earlier test.
    clusters.survive()
    before = clusters.errors("members")
    with owning(clusters.kafka.bootstrap_servers, clusters.group(unique("odd")), raw):
        clusters.survive()
    assert before == clusters.errors("members")


NUMBERS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5)
OWNED = st.dictionaries(st.binary(max_size=40), NUMBERS, max_size=4)
CUT = st.builds(lambda owned, size: assignment(owned)[:size], OWNED, st.integers(0, 300))


@given(raws=st.lists(st.binary(max_size=200) | CUT, min_size=8, max_size=8))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_assignment_whatever_ends_or_blinds_it(clusters: Clusters, raws: list[bytes]) -> None:
    with ExitStack() as members:
        for raw in raws:
            group = clusters.group(unique("any"))
            members.enter_context(owning(clusters.kafka.bootstrap_servers, group, raw))
        clusters.survive()


@pytest.mark.parametrize("tail", [b"a\0b", b"n" * 30_000, "\u00e9\u4e2d\U0001f600".encode(), b"\xff\xfe"])
def test_a_group_may_have_any_name(clusters: Clusters, tail: bytes) -> None:
    group = clusters.group(unique("name")) + tail
    with owning(clusters.kafka.bootstrap_servers, group, assignment({}), client_id=tail[:20_000]):
        clusters.survive()


def test_a_group_that_changes_its_protocol_between_listing_and_description_is_left_out(
    kafka: Kafka, tmp_path: Path
) -> None:
    # Listed once, so that it is taken for what it was.
    caches = {"performance": {"consumer_groups_cache_ttl": "1h"}}
    name = unique("strangers")
    group, topic = f"{name}-hostile-switch", f"{name}-hostile-topic"
    with ExitStack() as stack:
        driver = stack.enter_context(KafkaDriver(kafka.bootstrap_servers))
        driver.create_topic(topic)
        with driver.consuming(group, [topic], protocol="consumer") as member:
            # One that has a commit is not looked for again when its member has left.
            member.commit({(topic, 0): 0})
            clusters = stack.enter_context(watching(kafka, tmp_path, name=name, **caches))
            assert {} == clusters.errors("members")
        stack.enter_context(owning(kafka.bootstrap_servers, group.encode(), b"\0"))
        clusters.survive()
        # Most of the time librdkafka aborts, and now and then it says _DESTROY.
        wait_until(lambda: "crash" in clusters.errors("members"), "the group is left out")
        clusters.survive()


def test_a_batch_that_ends_the_process_which_reads_it_costs_its_own_partition_its_time_lag(
    kafka: Kafka, tmp_path: Path
) -> None:
    name = unique("strangers")
    poison, innocent, moves = f"{name}-hostile-poison", f"{name}-hostile", 4
    with KafkaDriver(kafka.bootstrap_servers) as driver, watching(kafka, tmp_path, name=name) as clusters:
        driver.create_topic(poison)
        write_gzip_of_two_members(kafka.bootstrap_servers, poison)
        driver.commit(f"{name}-hostile-victim", {(poison, 0): 0})
        wait_until(lambda: "crash" in clusters.errors("timestamps"), "the batch is read")
        driver.produce(innocent, n=moves)
        for move in range(moves):
            # Each time at another record, which has to be read.
            driver.commit(innocent, {(innocent, 0): 4 + move})
            page = clusters.program.next_cycle("hostile")
            assert page.value(TIME_LAG, cluster_name="hostile", group=innocent) is not None
            assert page.value(TIME_LAG, cluster_name="hostile", group=f"{name}-hostile-victim") is None
        clusters.survive()


@pytest.mark.timeout(120)
def test_a_pattern_takes_time_in_proportion_to_the_name(kafka: Kafka, tmp_path: Path) -> None:
    name = unique("strangers")
    patterns = [r"^(\w+-?)+\.prod$", "^([a-z0-9]+-?)+$", f"^{name}-hostile"]
    with watching(kafka, tmp_path, name=name, hostile={"group_whitelist": patterns}) as clusters:
        group = clusters.group("a" * 200 + "!").decode()
        with KafkaDriver(kafka.bootstrap_servers) as driver:
            driver.commit(group, {(f"{name}-hostile", 0): 0})
        clusters.survive()
        clusters.program.shows(10, lambda page: page.value(LAG, cluster_name="hostile", group=group))
