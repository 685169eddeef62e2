"""The only nursery tree: what runs under which scope, what one failure takes down, and the way out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import structlog
import trio

from klag_trio import __version__
from klag_trio.config import Config, Exporter, Leadership
from klag_trio.connections import Connection, StartError, connect, reads_records, threads_of
from klag_trio.domain.time_lag import RateEstimator, TimestampCache
from klag_trio.ending import IGNORED, STOPS
from klag_trio.kafka.record_reader import RecordReader
from klag_trio.otlp.settings import OtlpSettings, OtlpSettingsError, hide_variables, read_settings
from klag_trio.services.board import Board
from klag_trio.services.collector import Collector
from klag_trio.services.snapshot import SnapshotReader
from klag_trio.services.time_lag import MessageTimeLag, NoTimeLag, RateTimeLag, TimeLag
from klag_trio.web.app import make_app, make_probes_app
from klag_trio.web.middleware import SecurityMiddleware
from klag_trio.web.passwords import Passwords
from klag_trio.web.security import OPEN, OUTCOMES, Security, WebSecurity
from klag_trio.web.server import serve

if TYPE_CHECKING:
    from klag_trio.otlp.pusher import Pusher
    from klag_trio.services.candidacy import Candidacy


def otlp_settings(config: Config) -> OtlpSettings | None:
    """How to reach the OpenTelemetry collector; None where nothing is to be pushed to one.

    Raises:
        StartError: the environment asks for what cannot be.

    """
    if not config.exporter.otel.enabled:
        return None
    try:
        settings = read_settings(config.exporter, os.environ)
    except OtlpSettingsError as exc:
        raise StartError(str(exc)) from exc
    hide_variables(os.environ)
    return settings


def candidacy(leadership: Leadership) -> Candidacy | None:
    """What takes part in the election; None where there is none.

    Raises:
        StartError: there is no Kubernetes API to hold it.

    """
    if not leadership.enabled:
        return None
    # Only here: a single replica does without an HTTP client.
    from klag_trio.kubernetes.access import AccessError
    from klag_trio.services.candidacy import enter

    try:
        return enter(leadership, os.environ)
    except AccessError as exc:
        raise StartError(f"exporter.leadership.enabled: {exc}") from exc


@attrs.frozen
class Web:
    """What the command line says of the endpoint."""

    config_file: Path | None = None
    """Its TLS and its users; None where there is neither."""
    probes: tuple[str, int] | None = None
    """Host and port of a plain listener of the probes' own; None where they use the one that all use."""


PROBE_KEYS = "--web.probe-listen-address"
_CONNECTIONS_FOR_PROBES = 32


async def run(config: Config, web: Web, log_lines_dropped: Callable[[], int]) -> None:
    """Run until SIGINT or SIGTERM; a thread may be left in a call to librdkafka, which ends by itself.

    `log_lines_dropped` counts the log lines that were lost since the start.

    Raises:
        StartError: the configuration asks for what cannot be.
        HostError: the system does not give what it asks for.
        ConfigError: the web config file is wrong.
        ListenError: an address cannot be listened on.

    """
    otlp = otlp_settings(config)
    security = None if web.config_file is None else await WebSecurity.load(web.config_file)
    exporter = config.exporter
    candidate = candidacy(exporter.leadership)
    connections = await connect(config)
    board = Board(
        config.clusters,
        partition_series=exporter.granularity == "partition",
        time_lag=exporter.timestamp_sampling.enabled,
        staleness_threshold=exporter.staleness_threshold,
        poll_interval=exporter.poll_interval,
        log_lines_dropped=log_lines_dropped,
        tenure=None if candidate is None else candidate.tenure,
    )
    pusher = None if otlp is None else _pusher(board, otlp)
    log = structlog.get_logger(__name__)
    _say_what_is_ignored(config)
    try:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as working:
                await nursery.start(_stop_on_signal, working)
                await _serve(nursery, board, config, web, security)
                await nursery.start(board.run)
                for connection in connections:
                    # A replica that stands by asks nothing.
                    nursery.start_soon(connection.client.hear)
                if pusher is not None:
                    await nursery.start(pusher.run)
                collect = partial(_collect, connections, board, config)
                if candidate is None:
                    await collect()
                else:
                    await candidate.elector(partial(_lead, collect, board, pusher)).run()
            # Only now: what is pushed last is to hold afterwards, when the lease is another replica's.
            nursery.cancel_scope.cancel()
    finally:
        await _close(connections)
        log.info("stopped")


async def _serve(
    nursery: trio.Nursery, board: Board, config: Config, web: Web, security: WebSecurity | None
) -> None:
    """Start all that answers over HTTP."""
    log = structlog.get_logger(__name__)
    if security is not None:
        board.expect_reloads(OUTCOMES)
        await nursery.start(security.run, board.count_reload)

    def current() -> Security:
        return OPEN if security is None else security.current

    listen = partial(serve, host=config.exporter.http_host, port=config.exporter.http_port, security=current)
    host, port = await nursery.start(listen, SecurityMiddleware(make_app(board), current, Passwords()))
    log.info("serving", version=__version__, host=host, port=port, tls=current().tls is not None)
    if web.probes is not None:
        probe_host, probe_port = web.probes
        # A crowd at the one listener takes no places of the other.
        listen = partial(serve, host=probe_host, port=probe_port, keys=PROBE_KEYS)
        listen = partial(listen, most_connections=_CONNECTIONS_FOR_PROBES)
        host, port = await nursery.start(listen, make_probes_app(board))
        log.info("serving probes", host=host, port=port)


async def _collect(connections: Sequence[Connection], board: Board, config: Config) -> None:
    """Read every cluster until this is cancelled."""

    async def collect(connection: Connection) -> None:
        try:
            # A new one each time: what it knows of the last cycle belongs to an earlier term.
            await _collector(connection, board, config).run()
        finally:
            await connection.client.worker.end()

    async with trio.open_nursery() as nursery:
        for connection in connections:
            nursery.start_soon(collect, connection)


async def _lead(collect: Callable[[], Awaitable[None]], board: Board, pusher: Pusher | None) -> None:
    """Collect until this is cancelled, and leave no lag behind."""
    await board.change_term()
    try:
        await collect()
    finally:
        if pusher is not None:
            pusher.leave_off()
        with trio.CancelScope(shield=True):
            await board.change_term()


def _collector(connection: Connection, board: Board, config: Config) -> Collector:
    exporter, name = config.exporter, connection.cluster.name
    reader = SnapshotReader(
        connection.admin,
        connection.cluster,
        exporter.performance,
        board.faults(name),
        keep_seconds=exporter.staleness_threshold,
        identify_topics=reads_records(exporter),
        wall_clock=time.time,
    )
    readers = threads_of(config).readers
    time_lag = _time_lag(connection, reader, board, exporter, readers)
    return Collector(name, reader, time_lag, connection.client, board, exporter)


def _pusher(board: Board, settings: OtlpSettings) -> Pusher:
    # Only here: OpenTelemetry costs memory, for which only those pay who push.
    from klag_trio.otlp.data import Source, parts
    from klag_trio.otlp.exporter import Exporter as OtlpExporter
    from klag_trio.otlp.pusher import OUTCOMES, Pusher

    if settings.ignored:
        structlog.get_logger(__name__).warning(
            "exporter.otel goes before variables that are set", ignored=list(settings.ignored)
        )
    board.expect_exports(OUTCOMES)
    source = Source(resource=settings.resource, version=__version__, started=time.time())
    return Pusher(
        board,
        OtlpExporter(settings),
        lambda several: parts(several, source, at=time.time()),
        interval=settings.interval,
        endpoint=settings.address,
    )


def _time_lag(
    connection: Connection, snapshots: SnapshotReader, board: Board, exporter: Exporter, readers: int
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
    name = connection.cluster.name
    reader = RecordReader(
        connection.client, max_concurrent_fetches=readers, fetch_timeout=sampling.fetch_timeout
    )
    return MessageTimeLag(
        reader,
        TimestampCache(ttl=sampling.cache_ttl, first_penalty=exporter.poll_interval),
        snapshots.policies.of,
        connection.admin.earliest,
        board.faults(name),
        board.reads(name),
        skip_data_loss=sampling.skip_data_loss_partitions,
    )


async def _stop_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    log = structlog.get_logger(__name__)
    with trio.open_signal_receiver(*STOPS, *IGNORED) as received:
        task_status.started()
        async for number in received:
            name = signal.Signals(number).name
            if number in STOPS:
                log.info("stopping", signal=name)
                scope.cancel()
                return
            log.info("signal ignored: it changes nothing", signal=name)


async def _close(connections: Sequence[Connection]) -> None:
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            for connection in connections:
                nursery.start_soon(connection.client.aclose)


def _say_what_is_ignored(config: Config) -> None:
    log = structlog.get_logger(__name__)
    wanted = config.exporter.performance.max_blocking_threads
    if (needed := threads_of(config).total * len(config.clusters)) > wanted:
        log.warning(
            "exporter.performance.max_blocking_threads is less than the clusters need",
            max_blocking_threads=wanted,
            needed=needed,
        )
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
