"""A leader is stopped while the API server, the collector and the broker hang, all three together."""

from __future__ import annotations

import itertools
import random
import signal
import statistics
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique, wait_until
from tests.kubernetes.conftest import config, leadership
from tests.kubernetes.replica import Replica
from tests.program.program import STOP_SECONDS, Page

from stack.collector import OtelCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kubernetes.accounts import Namespace

    from stack.kafka import KafkaCluster

TIMES = 20
RANDOM = random.Random(11)
FRAGILE = pytest.mark.xdist_group("fragile")
# It leads for 3 s after a renewal, renews every 0.6 s, and gives an attempt 1.5 s.
LEASE, GRACE = 4, 1
# What its log says while all of them hang, in this order.
HANGING = ("OTLP export fails", "cannot renew the lease", "stopped leading")


@attrs.frozen
class Estate:
    """All that a leader talks to."""

    namespace: Namespace
    collector: OtelCollector
    kafka: KafkaCluster

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let them keep their connections and answer nothing."""
        plane, (node,) = self.namespace.plane, self.kafka.nodes
        try:
            plane.freeze_api()
            self.collector.freeze()
            node.freeze()
            yield
        finally:
            node.thaw()
            self.collector.thaw()
            plane.thaw_api()

    def free_the_lease(self) -> None:
        """Let the next replica lead at once, whether or not the last one gave the lease back."""
        answer = self.namespace.admin.delete(f"{self.namespace.leases}/{self.namespace.lease}")
        assert answer.is_success or answer.status_code == 404, answer.text


@pytest.fixture
def estate(namespace: Namespace, fragile_kafka: KafkaCluster, tmp_path: Path) -> Iterator[Estate]:
    with OtelCollector(tmp_path) as collector:
        yield Estate(namespace, collector, fragile_kafka)


@pytest.fixture
def start(estate: Estate, tmp_path: Path) -> Iterator[Callable[[], Replica]]:
    """Starts replicas, one after the other, that have a group's time lag to read and push what they know."""
    topic = unique("orders")
    with KafkaDriver(estate.kafka.bootstrap_servers) as driver:
        driver.create_topic(topic)
        driver.produce(topic, n=10)
        driver.commit(unique("app"), {(topic, 0): 3})
    otel = {"endpoint": f"http://127.0.0.1:{estate.collector.port}", "export_interval": "500ms"}
    election = leadership(estate.namespace, duration=LEASE, grace=GRACE)
    text = config(estate.kafka.bootstrap_servers, election, otel={"enabled": True, **otel})
    kubeconfig = estate.namespace.kubeconfig(tmp_path, estate.namespace.request_token())
    with ExitStack() as stack:
        numbers = itertools.count()

        def make() -> Replica:
            folder = tmp_path / f"{next(numbers)}"
            folder.mkdir()
            replica = Replica(folder, "one", text, {"KUBECONFIG": str(kubeconfig)})
            stack.callback(replica.end)
            replica.start()
            return replica

        yield make


def works(replica: Replica) -> bool:
    """Whether it leads, has read a time lag and has pushed."""
    status, text = replica.get("/metrics") or (0, "")
    page = Page(text)
    return (
        status == 200
        and page.value("klag_leader") == 1
        and bool(page.rows("kafka_consumergroup_group_lag_seconds"))
        and bool(page.value("klag_otlp_exports_total", outcome="success"))
    )


def stop(replica: Replica) -> float:
    """Stop it and return how many seconds that took."""
    began = time.monotonic()
    replica.send(signal.SIGTERM)
    code = replica.wait()
    took = time.monotonic() - began
    assert 0 == code, replica.text()
    return took


def report(what: str, took: list[float]) -> None:
    """Tell the figures; pytest shows them with -s."""
    middle = statistics.median(took)
    print(f"{what}: {len(took)} stops, {min(took):.2f} s, median {middle:.2f} s, {max(took):.2f} s")  # noqa: T201


@FRAGILE
@pytest.mark.timeout(900)
def test_a_leader_ends_in_time_whenever_it_is_stopped_while_all_that_it_talks_to_hangs(
    estate: Estate, start: Callable[[], Replica]
) -> None:
    took = []
    for number in range(TIMES):
        estate.free_the_lease()
        replica = start()
        wait_until(lambda replica=replica: works(replica), "it leads, reads and pushes")  # type: ignore[misc]
        # At any moment of a cycle, and between two pushes and two renewals.
        time.sleep(RANDOM.random())
        with estate.hanging():
            event = HANGING[number % len(HANGING)]
            wait_until(lambda replica=replica, event=event: replica.log(event), event)  # type: ignore[misc]
            time.sleep(RANDOM.random())
            took.append(stop(replica))
    report("leading", took)
    assert max(took) < STOP_SECONDS


@FRAGILE
@pytest.mark.parametrize("event", ["serving", "OTLP export fails", "standing by"])
def test_one_that_starts_while_all_that_it_talks_to_hangs_ends_in_time(
    estate: Estate, start: Callable[[], Replica], event: str
) -> None:
    with estate.hanging():
        replica = start()
        wait_until(lambda: replica.log(event), event)
        took = stop(replica)
    report(f"started, {event}", [took])
    assert took < STOP_SECONDS
