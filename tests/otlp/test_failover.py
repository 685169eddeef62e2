"""What a real collector shows of two replicas while the lead passes from one to the other."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.broker.waiting import unique, wait_until
from tests.fakes.lease_api import LeaseApi, lease_api
from tests.program.program import Page, Program, config_text, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.broker.driver import KafkaDriver
    from tests.conftest import Kafka

    from stack.collector import OtelCollector

TAKEOVER = timedelta(seconds=2)
LAG = "kafka_consumergroup_group_sum_lag"


@pytest.fixture
def api() -> Iterator[LeaseApi]:
    with lease_api() as running:
        yield running


@pytest.fixture
def topic(driver: KafkaDriver) -> str:
    name = driver.create_topic(unique("otlp"))
    driver.produce(name, n=10)
    driver.commit(f"{name}-billing", {(name, 0): 3})
    return name


def at(program: Program, event: str) -> datetime:
    """When its log says this first."""
    return datetime.fromisoformat(program.log(event)[0]["timestamp"])


def by_instance(collector: OtelCollector, name: str) -> dict[str, float]:
    """The samples of this name, by the replica that pushed them."""
    rows = Page(collector.metrics()).rows(name)
    return {dict(labels)["instance"]: value for labels, value in rows.items()}


def test_who_gives_the_lead_up_says_so_last_and_its_lag_ages_until_the_collector_forgets_it(
    kafka: Kafka,
    topic: str,
    driver: KafkaDriver,
    api: LeaseApi,
    otel_collector: OtelCollector,
    tmp_path: Path,
) -> None:
    @contextmanager
    def replica(name: str) -> Iterator[Program]:
        folder = tmp_path / name
        folder.mkdir()
        cluster = {
            "name": "prod",
            "bootstrap_servers": kafka.bootstrap_servers,
            "group_whitelist": [f"^{topic}-"],
        }
        leadership = {
            "enabled": True,
            "identity": name,
            "lease_name": "l",
            "lease_namespace": "n",
            "lease_duration_secs": 3,
            "grace_period_secs": 1,
        }
        endpoint = otel_collector.endpoint("grpc")
        otel = {"enabled": True, "endpoint": endpoint, "export_interval": "200ms"}
        environ = {
            "KUBECONFIG": str(api.kubeconfig(folder)),
            "OTEL_RESOURCE_ATTRIBUTES": f"service.instance.id={name}",
        }
        text = config_text([cluster], {"leadership": leadership, "otel": otel})
        with running(folder, text, environ=environ) as program:
            yield program

    with replica("one") as one:
        wait_until(lambda: by_instance(otel_collector, LAG) == {"one": 7}, "the first leader's lag")
        with replica("two") as two:
            wait_until(
                lambda: by_instance(otel_collector, "klag_leader") == {"one": 1, "two": 0}, "a standby"
            )
            assert {"one": 7} == by_instance(otel_collector, LAG)
            driver.commit(f"{topic}-billing", {(topic, 0): 1})
            wait_until(lambda: by_instance(otel_collector, LAG) == {"one": 9}, "a newer lag")
            assert 0 == one.stop(signal.SIGTERM)[0]
            assert 0 == by_instance(otel_collector, "klag_leader")["one"]
            wait_until(lambda: by_instance(otel_collector, LAG).get("two") == 9, "the next leader's lag")
            assert {"one": 0, "two": 1} == by_instance(otel_collector, "klag_leader")
            assert at(two, "leading") - at(one, "stopping") < TAKEOVER
            # As docs/opentelemetry.md warns; max is right, and sum is not.
            assert {"one": 9, "two": 9} == by_instance(otel_collector, LAG)
