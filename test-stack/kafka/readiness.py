"""When brokers may be called ready: not when a port is open, but when they do what tests ask of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from kafka.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kafka.node import KafkaNode

CALL_SECONDS = 5.0
LONGER_THAN_ANY_CLIENT_LIVES = 3600.0
PAUSE_SECONDS = 0.05


def wait_for_brokers(
    nodes: Sequence[KafkaNode], ids: set[int], client: Mapping[str, str], deadline: float
) -> None:
    """Wait until each of these nodes sees every broker of `ids`, and group coordinators answer through it."""
    for node in nodes:
        properties: dict[str, str | int | float | bool] = {
            "bootstrap.servers": node.bootstrap_server,
            "log_level": 0,
            **client,
        }
        admin = AdminClient(properties)
        _wait(lambda admin=admin: _sees(admin, ids), node, deadline)  # type: ignore[misc]
        _wait(lambda own=properties: _coordinates(AdminClient(own)), node, deadline)  # type: ignore[misc]


def _sees(admin: AdminClient, ids: set[int]) -> str | None:
    cluster = admin.describe_cluster(request_timeout=CALL_SECONDS).result()
    missing = ids - {broker.id for broker in cluster.nodes or []}
    return f"brokers {sorted(missing)} are not registered" if missing else None


def _coordinates(admin: AdminClient) -> str | None:
    # The first look for a coordinator makes Kafka create the topic of offsets; the listing needs it loaded.
    # Asking for a group's offsets would do too, but where the answer is NOT_COORDINATOR librdkafka ends the
    # process with a segmentation fault (its issue 5040). It also ends it where a coordinator comes back after
    # it was asked and the request timed out (its pull request 5397): the client goes before the request does.
    described = admin.describe_consumer_groups(["readiness"], request_timeout=LONGER_THAN_ANY_CLIENT_LIVES)
    try:
        described["readiness"].result(CALL_SECONDS)
    except TimeoutError:
        return "no group coordinator answers"
    errors = admin.list_consumer_groups(request_timeout=CALL_SECONDS).result().errors
    return f"groups cannot be listed: {errors}" if errors else None


def _wait(check: Callable[[], str | None], node: KafkaNode, deadline: float) -> None:
    while True:
        try:
            missing = check()
        except KafkaException as exc:
            missing = str(exc)
        if missing is None:
            return
        if not node.running:
            raise StackError(f"node {node.node_id} ended while it was waited for:\n{node.log()}")
        if time.monotonic() > deadline:
            raise StackError(f"node {node.node_id} is not ready in time: {missing}\n{node.log()}")
        time.sleep(PAUSE_SECONDS)
