"""Clusters that go away and come back, and brokers that are restarted one after the other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from tests.kafka.driver import KafkaDriver
from tests.kafka.program import LAST_UPDATE, Page, Program, config_text, running, troubles_that_last
from tests.kafka.waiting import unique, wait_until

from kafka import KafkaCluster, KafkaNode
from klag_trio.domain.offsets import Fault
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kafka.conftest import Kafka

LAG = "kafka_consumergroup_group_lag"
POLL = 0.25
KAFKA_TIMEOUT = 1.5
STALENESS = 4.0
# What a busy machine may take between the moment something is due and the moment a test sees it.
SLACK = 2.0


@pytest.fixture(scope="module")
def fragile() -> Iterator[KafkaCluster]:
    with KafkaCluster() as cluster:
        yield cluster


def stop_for_good(node: KafkaNode) -> Callable[[], None]:
    node.stop()
    return node.launch


def freeze(node: KafkaNode) -> Callable[[], None]:
    node.freeze()
    threads = Path(f"/proc/{node.pid}/task")
    wait_until(lambda: {"T"} == set(map(state_of, threads.iterdir())), "every thread of the broker stands")
    return node.thaw


def state_of(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


def write(driver: KafkaDriver, topic: str, group: str, *, lag: int) -> None:
    driver.create_topic(topic)
    driver.produce(topic, 0, lag + 1)
    driver.commit(group, {(topic, 0): 1})


def watched(
    program: Program, until: Callable[[Page], bool], seconds: float = 30.0
) -> list[tuple[float, Page]]:
    """Pages with the time they were asked for, until one is as wanted."""
    pages: list[tuple[float, Page]] = []

    def look() -> bool:
        asked = time.time()
        pages.append((asked, program.metrics()))
        return until(pages[-1][1])

    wait_until(look, "the page is as wanted", seconds)
    return pages


@pytest.mark.parametrize("outage", [stop_for_good, freeze])
def test_a_cluster_that_is_away_drops_out_alone_and_comes_back(
    kafka: Kafka,
    fragile: KafkaCluster,
    tmp_path: Path,
    outage: Callable[[KafkaNode], Callable[[], None]],
) -> None:
    name = unique("name")
    with KafkaDriver(kafka.bootstrap_servers) as steady, KafkaDriver(fragile.bootstrap_servers) as driver:
        write(steady, name, name, lag=3)
        write(driver, name, name, lag=5)
    mine = {"topic_whitelist": [f"^{name}$"], "group_whitelist": [f"^{name}$"]}
    text = config_text(
        [
            {"name": "steady", "bootstrap_servers": kafka.bootstrap_servers, **mine},
            {"name": "fragile", "bootstrap_servers": fragile.bootstrap_servers, **mine},
        ],
        {
            "poll_interval": f"{POLL}s",
            "staleness_threshold": f"{STALENESS}s",
            "performance": {
                "kafka_timeout": f"{KAFKA_TIMEOUT}s",
                "offset_fetch_timeout": f"{KAFKA_TIMEOUT}s",
            },
        },
    )

    def lag(page: Page, cluster: str) -> float | None:
        return page.value(LAG, cluster_name=cluster, group=name)

    def up(page: Page) -> dict[str, float | None]:
        return {c: page.value("klag_cluster_up", cluster_name=c) for c in ("steady", "fragile")}

    with running(tmp_path, text) as program:
        program.shows((3, 5), lambda page: (lag(page, "steady"), lag(page, "fragile")))
        recover = outage(fragile.nodes[0])
        try:
            away_since = time.time()
            pages = watched(program, lambda page: lag(page, "fragile") is None)
            status, _ = program.get("/ready")
            page = pages[-1][1]
            begun = [line for line in program.log() if line["level"] == "warning" and "cluster" in line]
            unready_alone = program.get("/")[1]
        finally:
            recover()

        # Down soon, gone when the threshold is over, and until then with the last values it had.
        known = [(asked, page) for asked, page in pages if lag(page, "fragile") is not None]
        assert {5} == {lag(page, "fragile") for _, page in known}
        assert {"steady": 1, "fragile": 0} == up(page)
        assert 1 == page.value("kafka_lag_exporter_up")
        assert status == 200
        assert "fragile" in unready_alone
        last_update = known[-1][1].value(LAST_UPDATE, cluster_name="fragile")
        assert last_update is not None
        assert abs(last_update - away_since) < KAFKA_TIMEOUT + SLACK
        assert last_update + STALENESS - 0.5 < pages[-1][0] < last_update + STALENESS + SLACK
        first_down = next(asked for asked, page in pages if up(page)["fragile"] == 0)
        # At worst the group's offsets had just been asked for: they time out, and then the watermarks do.
        assert first_down < away_since + POLL + 2 * KAFKA_TIMEOUT + SLACK
        assert page.value(LAST_UPDATE, cluster_name="fragile") is None

        # One line when it begins, not one a cycle: the calls under way fail, and then the first of a cycle.
        assert 1 <= len(begun) <= 4
        assert len(begun) == len({(line["event"], line["code"]) for line in begun})

        # The other cluster's cycles go on at their pace, unaffected by calls that hang.
        updates = sorted({page.value(LAST_UPDATE, cluster_name="steady") or 0 for _, page in pages})
        assert {3} == {lag(page, "steady") for _, page in pages}
        # Were they held up by a timeout each, there would be a seventh of them.
        assert len(updates) > 0.3 * (pages[-1][0] - away_since) / POLL

        fragile.wait_until_ready()
        program.shows((3, 5), lambda page: (lag(page, "steady"), lag(page, "fragile")))
        program.shows({"steady": 1, "fragile": 1}, up)
        wait_until(lambda: troubles_that_last(program, "fragile") == set(), "it says that all is well again")

    assert [] == [line for line in program.log() if line.get("cluster") == "steady"]


async def test_a_coordinator_that_hangs_costs_its_timeout_and_answers_again(fragile: KafkaCluster) -> None:
    group, timeout = unique("group"), 0.3
    with KafkaDriver(fragile.bootstrap_servers) as driver:
        topic = driver.create_topic(unique("topic"))
        driver.commit(group, {(topic, 0): 0})
    client = Client("hanging", {"bootstrap.servers": fragile.bootstrap_servers}, threads=8, timeout=30)
    admin = KafkaAdmin(client, max_concurrent_groups=2, offset_fetch_timeout=timeout)
    others = [unique("other") for _ in range(5)]
    for _ in range(5):
        with trio.fail_after(SLACK + 30):
            while isinstance((await admin.commits([group]))[group], Fault):
                pass
        thaw = freeze(fragile.nodes[0])
        try:
            started = trio.current_time()
            answers = await admin.commits([group, *others])
            took = trio.current_time() - started
        finally:
            thaw()
        codes = {answer.code if isinstance(answer, Fault) else None for answer in answers.values()}
        assert {"_TIMED_OUT"} == codes
        # Six groups, two at a time.
        assert 3 * timeout <= took < 3 * timeout + SLACK
    assert await client.aclose()


def test_brokers_that_stop_and_die_cost_no_series_and_no_process(tmp_path: Path) -> None:
    with KafkaCluster(nodes=3) as cluster, KafkaDriver(cluster.bootstrap_servers) as driver:
        topic = driver.create_topic("topic", partitions=3)
        for partition in range(3):
            driver.produce(topic, partition, 30)
        # Enough groups that every broker coordinates some.
        groups = [f"group-{number}" for number in range(30)]
        for number, group in enumerate(groups):
            driver.commit(group, {(topic, partition): number for partition in range(3)})
        lags = {
            (group, str(partition)): 30 - number
            for number, group in enumerate(groups)
            for partition in range(3)
        }

        def seen(page: Page) -> dict[tuple[str, str], float]:
            rows = ((dict(labels), lag) for labels, lag in page.rows(LAG).items())
            return {(labels["group"], labels["partition"]): lag for labels, lag in rows}

        # Groups of a broker that died are asked for in vain until another one coordinates them.
        exporter = {
            "staleness_threshold": "1m",
            "performance": {"kafka_timeout": "2s", "offset_fetch_timeout": "500ms"},
        }
        text = config_text([{"name": "rolling", "bootstrap_servers": cluster.bootstrap_servers}], exporter)
        with running(tmp_path, text) as program:
            program.shows(lags, seen)
            for node, end in zip(cluster.nodes, (KafkaNode.stop, KafkaNode.kill), strict=False):
                before = program.metrics().value(LAST_UPDATE, cluster_name="rolling") or 0
                end(node)

                def lasting(page: Page) -> bool:
                    # No series is missing at any time, and good cycles go on with two brokers.
                    assert lags == seen(page)
                    return (page.value(LAST_UPDATE, cluster_name="rolling") or 0) > before + 2.0  # noqa: B023

                watched(program, lasting)
                node.launch()
                cluster.wait_until_ready()
            for _ in range(3):
                assert lags == seen(program.next_cycle("rolling"))
            codes = {dict(labels)["code"] for labels in program.metrics().rows("klag_errors_total")}
            assert codes, "nothing went wrong: the test is none"
