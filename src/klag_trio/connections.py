"""The clients to all clusters, or why there is one that cannot be made."""

from __future__ import annotations

import attrs
import trio

from klag_trio import descriptors
from klag_trio.config import Cluster, Config, Exporter, Performance
from klag_trio.domain.threads import Threads, share
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Client, PropertyError
from klag_trio.kafka.files import names_of_files
from klag_trio.kafka.room import ensure_room
from klag_trio.shortage import ShortageError

# So many file servers that hang may be waited for, each so long.
_CONNECTING_AT_ONCE = 8
_CONNECT_SECONDS = 30.0
# With fewer in a process, one reader of records at a time: each needs about twenty.
_DESCRIPTORS_ENOUGH = 512


class StartError(Exception):
    """The configuration is well-formed, but cannot be run; a line for each reason."""


class HostError(Exception):
    """What the configuration asks for may be right, but the system it runs on does not give it."""


@attrs.frozen
class Connection:
    """A cluster and the client to it."""

    cluster: Cluster
    client: Client
    admin: KafkaAdmin


async def connect(config: Config) -> list[Connection]:
    """Make the clients, which checks their properties; no broker is connected yet.

    Where the system has no room for one, the others are not tried.

    Raises:
        StartError: librdkafka refuses a property of one of the clusters.
        HostError: the system has no more threads or descriptors, or lets a file wait that a property names.

    """
    total = len(config.clusters)
    descriptors.take_for_clusters(total)
    try:
        ensure_room(total)
    except ShortageError as exc:
        raise HostError(str(exc)) from None
    performance = config.exporter.performance
    threads = threads_of(config)
    waiting = iter(config.clusters)
    clients: dict[str, Client] = {}
    refused: dict[str, str] = {}
    lacking: list[str] = []

    async def open_client(cluster: Cluster) -> None:
        name = cluster.name
        properties = {**cluster.consumer_properties.reveal(), "bootstrap.servers": cluster.bootstrap_servers}
        try:
            with trio.fail_after(_CONNECT_SECONDS):
                clients[name] = await Client.open(
                    name, properties, threads=threads.admin, timeout=performance.kafka_timeout
                )
        except PropertyError as exc:
            refused[name] = f"cluster {name}: consumer_properties: {exc}"
        except ShortageError as exc:
            lacking.append(f"cluster {name}: {exc}; it sufficed for {len(clients)} of {total} clusters")
            nursery.cancel_scope.cancel()
        except trio.TooSlowError:
            waits = f"still waits for {files}" if (files := names_of_files(properties)) else "not ready"
            lacking.append(f"cluster {name}: {waits} after {_CONNECT_SECONDS:g} s")
            nursery.cancel_scope.cancel()

    async def open_clients() -> None:
        for cluster in waiting:
            await open_client(cluster)

    async with trio.open_nursery() as nursery:
        for _ in range(_CONNECTING_AT_ONCE):
            nursery.start_soon(open_clients)
    if lacking:
        raise HostError(lacking[0])
    if refused:
        raise StartError("\n".join(refused[c.name] for c in config.clusters if c.name in refused))
    return [_connection(cluster, clients[cluster.name], performance) for cluster in config.clusters]


def _connection(cluster: Cluster, client: Client, performance: Performance) -> Connection:
    admin = KafkaAdmin(
        client,
        max_concurrent_groups=performance.max_concurrent_groups,
        offset_fetch_timeout=performance.offset_fetch_timeout,
    )
    return Connection(cluster, client, admin)


def reads_records(exporter: Exporter) -> bool:
    """Whether time lag comes from records."""
    sampling = exporter.timestamp_sampling
    return sampling.enabled and sampling.mode == "message"


def threads_of(config: Config) -> Threads:
    """The threads of each cluster."""
    exporter = config.exporter
    readers = exporter.timestamp_sampling.max_concurrent_fetches if reads_records(exporter) else 0
    if descriptors.limit() < _DESCRIPTORS_ENOUGH:
        readers = min(1, readers)
    total = exporter.performance.max_blocking_threads
    return share(total, clusters=len(config.clusters), readers=readers)
