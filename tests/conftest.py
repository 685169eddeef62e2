"""What every test may ask for, and which tests need what."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, settings
from tests.broker.driver import KafkaDriver
from tests.broker.shared import SharedKafka
from tests.brokers import Brokers, PlainKafka, ask_for

from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says more about what else the machine does than about us.
settings.register_profile("klag-trio", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("klag-trio")

# A shell starts what runs in its background with SIGINT ignored, and every child inherits that: the programs
# that tests end with it would not notice.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
BOOTSTRAP = "KLAG_TEST_BOOTSTRAP"
_BROKERS = pytest.StashKey[Brokers]()


# Which tests need what


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its folder's need, and put those first that take long."""
    registered = {line.partition(":")[0] for line in config.getini("markers")}
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in registered:
            item.add_marker(folder)
    if os.environ.get(BOOTSTRAP):
        other = [item for item in items if item.get_closest_marker("other_version")]
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if item not in set(other)]
    # A worker that takes one of these last would keep the others waiting.
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if named := os.environ.get(BOOTSTRAP):
        terminalreporter.write_line(f"{BOOTSTRAP}={named}: tests on other versions of Kafka are left out")


@pytest.fixture
def slow_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine librdkafka may take seconds to close a client, which says nothing about us."""
    monkeypatch.setattr("klag_trio.kafka.client._DRAIN_SECONDS", 60.0)


# The brokers


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_BROKERS] = Brokers()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _BROKERS in config.stash:
        config.stash[_BROKERS].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a worker of pytest-xdist where to ask for brokers."""
    node.workerinput["brokers"] = node.config.stash[_BROKERS].address  # type: ignore[attr-defined]


class Kafka(Protocol):
    """A cluster that tests may use; many share it, so each makes its own topics and groups."""

    @property
    def bootstrap_servers(self) -> str: ...


@pytest.fixture(scope="session")
def brokers(pytestconfig: pytest.Config) -> str:
    """Where to ask for a broker."""
    if _BROKERS in pytestconfig.stash:
        return pytestconfig.stash[_BROKERS].address
    address: str = pytestconfig.workerinput["brokers"]  # type: ignore[attr-defined]
    return address


@pytest.fixture(scope="session")
def shared_kafka(brokers: str) -> SharedKafka:
    """The shared broker with all its listeners."""
    shared = ask_for(brokers, "shared")
    assert isinstance(shared, SharedKafka)
    return shared


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Kafka:
    """The shared broker, or the one that KLAG_TEST_BOOTSTRAP names."""
    named = os.environ.get(BOOTSTRAP)
    if named:
        return PlainKafka(named)
    shared: SharedKafka = request.getfixturevalue("shared_kafka")
    return shared


@pytest.fixture(scope="session")
def oldest_kafka(brokers: str) -> Kafka:
    """The shared broker of the oldest supported version; a test of it is marked `other_version`."""
    oldest = ask_for(brokers, "oldest")
    assert isinstance(oldest, PlainKafka)
    return oldest


@pytest.fixture(scope="session")
def cluster_to_break() -> Iterator[KafkaCluster]:
    # So long a broker may be frozen and still lead its partitions afterwards, and one that was stopped waits
    # before it may come back.
    with KafkaCluster(properties={"broker.session.timeout.ms": "9000"}) as cluster:
        yield cluster


@pytest.fixture
def fragile_kafka(cluster_to_break: KafkaCluster) -> Iterator[KafkaCluster]:
    """A broker that a test may stop, freeze for some seconds or damage; it runs again when the test ends.

    One worker has it: its tests are marked `xdist_group("fragile")`.
    """
    yield cluster_to_break
    cluster_to_break.wait_until_ready()


@pytest.fixture
def driver(kafka: Kafka) -> Iterator[KafkaDriver]:
    with KafkaDriver(kafka.bootstrap_servers) as driver:
        yield driver
