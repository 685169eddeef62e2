"""Real brokers for the tests: our own, or the one that KLAG_TEST_BOOTSTRAP names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import attrs
import pytest
from tests.kafka.driver import KafkaDriver

from stack.kafka import CURRENT, OLDEST, KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kafka(Protocol):
    """A cluster that tests may use; many share it, so each makes its own topics and groups."""

    @property
    def bootstrap_servers(self) -> str: ...


@attrs.frozen
class ExternalKafka:
    """A cluster that somebody else started."""

    bootstrap_servers: str


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    yield from _external_or(CURRENT)


@pytest.fixture(scope="session")
def oldest_kafka() -> Iterator[Kafka]:
    yield from _external_or(OLDEST)


@pytest.fixture
def driver(kafka: Kafka) -> Iterator[KafkaDriver]:
    with KafkaDriver(kafka.bootstrap_servers) as driver:
        yield driver


def _external_or(version: str) -> Iterator[Kafka]:
    external = os.environ.get("KLAG_TEST_BOOTSTRAP")
    if external:
        yield ExternalKafka(external)
        return
    with KafkaCluster(version=version) as cluster:
        yield cluster
