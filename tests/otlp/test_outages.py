"""Collectors that are down, hang or refuse: no cycle waits for them, and a later push brings what matters."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.broker.waiting import wait_until
from tests.otlp.series import lag
from tests.otlp.test_export import BEGINS, ENDS, PROTOCOLS, config, exports, topic
from tests.otlp.watching import watching
from tests.program.program import STOP_SECONDS, running
from tests.unit.otlp.collectors import DENIED, Collector, Refusal, collecting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.broker.driver import KafkaDriver
    from tests.conftest import Kafka
    from tests.program.program import Program

    from klag_trio.otlp.settings import Protocol
    from stack.collector import OtelCollector

    Outage = Callable[[Protocol, int], AbstractContextManager[object]]

__all__ = ["topic"]

LATER = Refusal("RESOURCE_EXHAUSTED", 429, retry_after=3600)


@contextmanager
def down(protocol: Protocol, port: int) -> Iterator[None]:
    yield


def refusing(refusal: Refusal) -> Outage:
    return lambda protocol, port: collecting(Collector(protocol, lambda: refusal, port))


@contextmanager
def hanging(protocol: Protocol, port: int) -> Iterator[None]:
    over = threading.Event()

    def hang() -> None:
        over.wait()

    try:
        with collecting(Collector(protocol, hang, port)):
            yield
    finally:
        over.set()


OUTAGES = {
    "down": down,
    "hanging": hanging,
    "full for an hour": refusing(LATER),
    "denying": refusing(DENIED),
}


@pytest.fixture(params=OUTAGES)
def outage(request: pytest.FixtureRequest) -> Outage:
    return OUTAGES[request.param]


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


def goes_on(program: Program, driver: KafkaDriver, topic: str) -> None:
    """Have a push fail; cycles come as before, with what is committed meanwhile."""
    with watching(program) as watch:
        wait_until(lambda: program.log(BEGINS), "the beginning is logged")
        driver.commit(f"{topic}-billing", {(topic, 0): 7})
        program.next_cycle("prod")
        wait_until(lambda: exports(program, "failure") > 1, "another failure")
    assert {200} == watch.statuses
    # A loop that waited for the collector would stand still for an interval.
    assert (True, True) == (watch.slowest < 2, watch.longest_gap < 2), watch
    assert 1 == len(program.log(BEGINS))


def test_no_cycle_waits_in_an_outage_at_the_start_and_its_end_brings_everything(
    kafka: Kafka,
    driver: KafkaDriver,
    topic: str,
    otel_collector: OtelCollector,
    outage: Outage,
    protocol: Protocol,
    tmp_path: Path,
) -> None:
    endpoint = otel_collector.endpoint(protocol)
    text = config(kafka, topic, endpoint, interval="3s", protocol=protocol)
    otel_collector.kill()
    with ExitStack() as until_it_is_over:
        until_it_is_over.enter_context(outage(protocol, int(endpoint.rpartition(":")[2])))
        with running(tmp_path, text) as program:
            program.next_cycle("prod")
            goes_on(program, driver, topic)
            until_it_is_over.close()
            otel_collector.start()
            wait_until(lambda: program.log(ENDS), "the end is logged")
            expected = lag(program.next_cycle("prod").text)
            wait_until(lambda: lag(otel_collector.metrics()) == expected, "what happened meanwhile")


def test_a_stop_in_an_outage_is_over_in_time(
    kafka: Kafka,
    topic: str,
    otel_collector: OtelCollector,
    outage: Outage,
    protocol: Protocol,
    tmp_path: Path,
) -> None:
    endpoint = otel_collector.endpoint(protocol)
    otel_collector.kill()
    with (
        outage(protocol, int(endpoint.rpartition(":")[2])),
        running(tmp_path, config(kafka, topic, endpoint, interval="1s", protocol=protocol)) as program,
    ):
        wait_until(lambda: program.log(BEGINS), "the beginning is logged")
        code, seconds = program.stop(signal.SIGTERM)
    assert (0, True) == (code, seconds < STOP_SECONDS), seconds


def test_no_cycle_waits_for_a_collector_that_does_not_speak_tls(
    kafka: Kafka,
    driver: KafkaDriver,
    topic: str,
    otel_collector: OtelCollector,
    protocol: Protocol,
    tmp_path: Path,
) -> None:
    endpoint = otel_collector.endpoint(protocol, "https")
    with running(tmp_path, config(kafka, topic, endpoint, interval="3s", protocol=protocol)) as program:
        program.next_cycle("prod")
        goes_on(program, driver, topic)
        code, seconds = program.stop(signal.SIGTERM)
    assert (0, True) == (code, seconds < STOP_SECONDS), seconds
