"""When brokers may be called ready: not when a port is open, but when they do what tests ask of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stack.kafka.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stack.kafka.node import KafkaNode

CALL_SECONDS = 5.0
OFFSETS = "__consumer_offsets"
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
    topics = admin.list_topics(timeout=CALL_SECONDS).topics
    if OFFSETS in topics:
        # No coordinator is asked: while brokers come back, librdkafka may end the process over that, with a
        # segmentation fault after NOT_COORDINATOR (its issue 5040), or with an assertion where one comes back
        # after a request for it has timed out (its pull request 5397).
        if any(partition.leader < 0 for partition in topics[OFFSETS].partitions.values()):
            return "there are groups without a coordinator"
    else:
        # The first look for a coordinator makes Kafka create the topic of offsets. The client goes before the
        # request does.
        described = admin.describe_consumer_groups(
            ["readiness"], request_timeout=LONGER_THAN_ANY_CLIENT_LIVES
        )
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
