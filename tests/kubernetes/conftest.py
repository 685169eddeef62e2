"""A real control plane, a real broker and several replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique
from tests.conftest import Kafka
from tests.kubernetes.accounts import Namespace, make_namespace
from tests.kubernetes.replica import Replica
from tests.program.program import config_text

from stack.kubernetes import ControlPlane

CONTROLLERS = ("deployment-controller", "replicaset-controller", "disruption-controller")


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), controllers=CONTROLLERS) as running:
        yield running


@pytest.fixture(scope="session")
def admin(plane: ControlPlane) -> Iterator[httpx.Client]:
    with plane.admin() as client:
        yield client


@pytest.fixture
def namespace(plane: ControlPlane, admin: httpx.Client) -> Namespace:
    return make_namespace(plane, admin)


@pytest.fixture(scope="session")
def lagging(kafka: Kafka) -> str:
    """The bootstrap servers of a cluster in which a group lags."""
    with KafkaDriver(kafka.bootstrap_servers) as driver:
        topic = driver.create_topic(unique("orders"))
        driver.produce(topic, n=10)
        driver.commit(unique("app"), {(topic, 0): 3})
    return kafka.bootstrap_servers


def leadership(namespace: Namespace, *, duration: int = 3, grace: int = 1, **keys: object) -> dict[str, Any]:
    return {
        "enabled": True,
        "lease_name": namespace.lease,
        "lease_namespace": namespace.name,
        "lease_duration_secs": duration,
        "grace_period_secs": grace,
        **keys,
    }


def config(bootstrap: str, election: Mapping[str, Any], **exporter: object) -> str:
    keys = {"http_host": "HOST", "leadership": dict(election), **exporter}
    text = config_text([{"name": "main", "bootstrap_servers": bootstrap}], keys)
    return text.replace("http_port = 0", "http_port = PORT")


MakeReplica = Callable[..., Replica]


@pytest.fixture
def replica(tmp_path: Path, lagging: str, namespace: Namespace) -> Iterator[MakeReplica]:
    """Makes replicas that take part in the election of the namespace; the test starts them."""
    with ExitStack() as stack:

        def make(name: str, *, within: Namespace = namespace, token: str = "", **keys: Any) -> Replica:
            folder = tmp_path / name
            folder.mkdir()
            kubeconfig = within.kubeconfig(folder, token or within.request_token())
            made = Replica(
                folder, name, config(lagging, leadership(within, **keys)), {"KUBECONFIG": str(kubeconfig)}
            )
            stack.callback(made.end)
            return made

        yield make
