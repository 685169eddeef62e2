"""The only nursery tree: what runs under which scope, what one failure takes down, and the way out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

import attrs
import structlog
import trio

from klag_trio import __version__
from klag_trio.config import Cluster, Config, Exporter
from klag_trio.domain.time_lag import RateEstimator, TimestampCache
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Client, PropertyError
from klag_trio.kafka.timestamps import RecordReader
from klag_trio.services.board import Board
from klag_trio.services.collector import Collector
from klag_trio.services.otlp_settings import OtlpSettings, OtlpSettingsError, read_settings
from klag_trio.services.server import serve
from klag_trio.services.snapshot import SnapshotReader
from klag_trio.services.time_lag import MessageTimeLag, NoTimeLag, RateTimeLag, TimeLag
from klag_trio.services.web import make_app

# A cluster's cycle has at most three calls under way at once, and some threads wait out abandoned calls.
_ADMIN_THREADS = 8


class StartError(Exception):
    """The configuration is well-formed, but cannot be run; a line for each reason."""


@attrs.frozen
class Connection:
    """A cluster and the client to it."""

    cluster: Cluster
    client: Client
    admin: KafkaAdmin


def connect(config: Config) -> list[Connection]:
    """Make the clients, which checks their properties; nothing is connected yet.

    Raises:
        StartError: librdkafka refuses a property of one of the clusters.

    """
    performance = config.exporter.performance
    threads = max(2, min(_ADMIN_THREADS, performance.max_blocking_threads // len(config.clusters)))
    connections, refused = [], []
    for cluster in config.clusters:
        properties = {**cluster.consumer_properties.reveal(), "bootstrap.servers": cluster.bootstrap_servers}
        try:
            client = Client(cluster.name, properties, threads=threads, timeout=performance.kafka_timeout)
        except PropertyError as exc:
            refused.append(f"cluster {cluster.name}: consumer_properties: {exc}")
            continue
        admin = KafkaAdmin(
            client,
            max_concurrent_groups=performance.max_concurrent_groups,
            offset_fetch_timeout=performance.offset_fetch_timeout,
        )
        connections.append(Connection(cluster, client, admin))
    if refused:
        raise StartError("\n".join(refused))
    return connections


def unavailable_features(config: Config) -> list[str]:
    """What the configuration asks for that this version does not do: one line each."""
    lines = []
    if config.exporter.leadership.enabled:
        lines.append("exporter.leadership.enabled: this version has no leader election yet: set it to false")
    return lines


def otlp_settings(config: Config) -> OtlpSettings | None:
    """How to reach the OpenTelemetry collector; None where nothing is to be pushed to one.

    Raises:
        StartError: the environment asks for what cannot be.

    """
    if not config.exporter.otel.enabled:
        return None
    try:
        return read_settings(config.exporter, os.environ)
    except OtlpSettingsError as exc:
        raise StartError(str(exc)) from exc


async def run(config: Config) -> None:
    """Run until SIGINT or SIGTERM; a thread may be left in a call to librdkafka, which ends by itself.

    Raises:
        StartError: the configuration asks for what cannot be.
        ListenError: the HTTP address cannot be listened on.

    """
    if lines := unavailable_features(config):
        raise StartError("\n".join(lines))
    otlp = otlp_settings(config)
    connections = connect(config)
    exporter = config.exporter
    board = Board(
        config.clusters,
        partition_series=exporter.granularity == "partition",
        time_lag=exporter.timestamp_sampling.enabled,
        staleness_threshold=exporter.staleness_threshold,
        poll_interval=exporter.poll_interval,
    )
    log = structlog.get_logger(__name__)
    _say_what_is_ignored(config)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_stop_on_signal, nursery.cancel_scope)
            host, port = await nursery.start(
                lambda task_status: serve(
                    make_app(board), host=exporter.http_host, port=exporter.http_port, task_status=task_status
                )
            )
            log.info("serving", version=__version__, host=host, port=port)
            await nursery.start(board.run)
            for connection in connections:
                collector = _collector(connection, board, config)
                await nursery.start(collector.run)
            if otlp is not None:
                await nursery.start(_pusher(board, otlp))
    finally:
        await _close(connections)
        log.info("stopped")


def _collector(connection: Connection, board: Board, config: Config) -> Collector:
    exporter, name = config.exporter, connection.cluster.name
    reader = SnapshotReader(
        connection.admin,
        connection.cluster,
        exporter.performance,
        board.faults(name),
        keep_seconds=exporter.staleness_threshold,
        identify_topics=_reads_records(exporter),
        wall_clock=time.time,
    )
    time_lag = _time_lag(connection.client, connection.admin, reader, board, name, exporter)
    return Collector(name, reader, time_lag, connection.client, board, exporter)


def _pusher(board: Board, settings: OtlpSettings) -> Callable[..., Awaitable[None]]:
    # gRPC's core would write to stderr what we log anyway; it looks at this once, when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Only here: OpenTelemetry and gRPC cost memory that nobody pays for who has no use of them.
    from klag_trio.exposition.otlp import Source
    from klag_trio.services.otlp_channel import OtlpChannel
    from klag_trio.services.pusher import OUTCOMES, Pusher

    if settings.ignored:
        structlog.get_logger(__name__).warning(
            "exporter.otel.endpoint goes before variables that are set", ignored=list(settings.ignored)
        )
    board.expect_exports(OUTCOMES)
    source = Source(resource=settings.resource, version=__version__, started=time.time())
    return Pusher(board, OtlpChannel(settings), source, settings).run


def _reads_records(exporter: Exporter) -> bool:
    sampling = exporter.timestamp_sampling
    return sampling.enabled and sampling.mode == "message"


def _time_lag(
    client: Client, admin: KafkaAdmin, snapshots: SnapshotReader, board: Board, name: str, exporter: Exporter
) -> TimeLag:
    sampling = exporter.timestamp_sampling
    if not sampling.enabled:
        return NoTimeLag()
    if sampling.mode == "rate":
        return RateTimeLag(
            RateEstimator(
                samples=sampling.rate_history_samples,
                max_age=sampling.rate_history_max_age,
                floor=sampling.rate_min_msgs_per_sec,
            )
        )
    return MessageTimeLag(
        RecordReader(
            client,
            max_concurrent_fetches=sampling.max_concurrent_fetches,
            fetch_timeout=sampling.fetch_timeout,
        ),
        TimestampCache(ttl=sampling.cache_ttl, first_penalty=exporter.poll_interval),
        snapshots.cleanup_policies,
        admin.earliest,
        board.faults(name),
        board.reads(name),
        skip_data_loss=sampling.skip_data_loss_partitions,
    )


async def _stop_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            structlog.get_logger(__name__).info("stopping", signal=signal.Signals(number).name)
            scope.cancel()
            return


async def _close(connections: Sequence[Connection]) -> None:
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            for connection in connections:
                nursery.start_soon(connection.client.aclose)


def _say_what_is_ignored(config: Config) -> None:
    log = structlog.get_logger(__name__)
    if config.exporter.performance.max_concurrent_watermarks is not None:
        log.warning(
            "exporter.performance.max_concurrent_watermarks has no effect: watermarks come in batches"
        )
    for cluster in config.clusters:
        for name in cluster.consumer_properties.ignored:
            log.warning(
                "a consumer property is ignored: klag-trio sets it itself",
                cluster=cluster.name,
                property=name,
            )
