"""The whole nursery tree, which stops to lead: what reaches the collector last."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from tests.broker.waiting import wait_until
from tests.fakes.lease_api import LeaseApi, lease_api
from tests.unit.kafka.test_client import clients
from tests.unit.otlp.collectors import Collector, Refusal, collecting

from klag_trio import app
from klag_trio.config import Cluster, Config, Exporter, Leadership, Otel, Performance
from klag_trio.otlp import pusher


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector("grpc")
    with collecting(running):
        yield running


@pytest.fixture
def api() -> Iterator[LeaseApi]:
    with lease_api() as running:
        yield running


def config(port: int, *, interval: float, duration: int = 60, grace: int = 10) -> Config:
    exporter = Exporter(
        http_host="127.0.0.1",
        http_port=0,
        otel=Otel(enabled=True, endpoint=f"http://127.0.0.1:{port}", export_interval=interval),
        leadership=Leadership(
            enabled=True,
            lease_name="l",
            lease_namespace="n",
            lease_duration_secs=duration,
            grace_period_secs=grace,
        ),
        performance=Performance(kafka_timeout=0.2),
    )
    return Config(exporter=exporter, clusters=(Cluster(name="a", bootstrap_servers="127.0.0.1:1"),))


def told(request: ExportMetricsServiceRequest) -> dict[str, list[int]]:
    """The integers that a request says, by metric."""
    metrics = [
        metric
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    return {metric.name: [point.as_int for point in metric.gauge.data_points] for metric in metrics}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what comes about in another thread."""
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def lead_and_stop(config: Config, api: LeaseApi, ready: Callable[[], bool] = lambda: True) -> None:
    """Run until it leads and is `ready`, and through the stop."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(app.run, config, app.Web(), lambda: 0)
        await until(lambda: bool(api.holder) and ready())
        # Whoever does not wait until the lease is given back pushes before.
        api.delay = 0.2
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def way_to_the_api(api: LeaseApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path)))
    before = clients()
    yield
    # A call to Kafka that was left alone keeps its client until it ends, and the next tests look at that.
    wait_until(lambda: clients() == before, "no client is left")


async def test_what_a_leader_pushes_last_says_that_it_leads_no_longer_once_the_lease_is_free(
    api: LeaseApi, collector: Collector
) -> None:
    holders: list[str] = []

    def answer() -> None:
        holders.append(api.holder)

    collector.answer = answer
    # The stop is the only push.
    await lead_and_stop(config(collector.port, interval=3600), api)
    assert [""] == holders
    (request,) = collector.requests
    assert [0] == told(request)["klag_leader"]
    assert "klag_cluster_up" not in told(request)


async def test_what_was_read_while_it_led_is_not_sent_again_once_another_leads(
    api: LeaseApi, collector: Collector
) -> None:
    # Tried again after the lead is lost, and before the next push.
    answers = [Refusal("UNAVAILABLE", 503, retry_after=2.0)]
    collector.answer = lambda: answers.pop() if answers else None
    async with trio.open_nursery() as nursery:
        settings = config(collector.port, interval=3.0, duration=6, grace=1)
        nursery.start_soon(app.run, settings, app.Web(), lambda: 0)
        await until(lambda: bool(collector.requests))
        api.give_to("another")
        await until(lambda: len(collector.requests) > 1)
        os.kill(os.getpid(), signal.SIGTERM)
    led, *later = (told(request)["klag_leader"] for request in collector.requests)
    assert [1] == led
    assert {(0,)} == set(map(tuple, later))


@pytest.fixture
def over(collector: Collector) -> Iterator[threading.Event]:
    """Until this is set the collector answers nothing."""
    answers = threading.Event()

    def hang() -> None:
        answers.wait()

    collector.answer = hang
    yield answers
    answers.set()


async def test_a_collector_that_hangs_keeps_nobody_from_the_lease(
    api: LeaseApi, collector: Collector, over: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever gives the lease back after the last push does not come to it.
    monkeypatch.setattr(pusher, "LAST_PUSH_SECONDS", 90.0)
    async with trio.open_nursery() as nursery:

        def pushes() -> bool:
            return bool(collector.requests)

        nursery.start_soon(lead_and_stop, config(collector.port, interval=0.1), api, pushes)
        await until(pushes)
        await until(lambda: not api.holder)
        over.set()
