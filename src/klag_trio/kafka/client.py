"""One librdkafka client per cluster: its properties, its threads, what it says, and its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import attrs
import structlog
import trio
from confluent_kafka import KafkaError, KafkaException

from klag_trio.domain.offsets import ClusterUnavailable, Fault
from klag_trio.kafka.batch_admin import BatchAdmin, LibraryLog
from klag_trio.kafka.causes import Causes
from klag_trio.kafka.coordinators import Coordinators
from klag_trio.kafka.faults import fault_of
from klag_trio.kafka.features import built_in, missing_kerberos
from klag_trio.kafka.files import files_of, in_memory, names_of_files
from klag_trio.kafka.maker import Maker
from klag_trio.kafka.redact import redactor
from klag_trio.kafka.room import room_for
from klag_trio.kafka.worker_process import WorkerProcess
from klag_trio.shortage import ShortageError, shortage
from klag_trio.stopping import CLIENT_SECONDS

T = TypeVar("T")

_CLIENT_ID = "klag-trio"
_DRAIN_SECONDS = CLIENT_SECONDS
_HEARING_SECONDS = 10.0
# What librdkafka calls a broken connection, although it is about certificates.
_TLS = ("SSL handshake failed", "SSL alert number")
# That a listener hung up is about TLS too where none has ever answered.
_SHAKING_HANDS = "in state SSL_HANDSHAKE"
# librdkafka refuses less for a consumer; its own default is the longest.
_SHORTEST_SILENCE = 2.0
_LONGEST_SILENCE = 60.0
# What one librdkafka client starts and opens, without and for each of the bootstrap servers.
_THREADS, _THREADS_PER_SERVER = 4, 1
_FILES, _FILES_PER_SERVER = 4, 2
# librdkafka's name for it.
_NO_ROOM = "_CRIT_SYS_RESOURCE"
# Of the system's, for what this process does beside: calls, answers over HTTP, a worker's pipes.
_SPARE = 4


class PropertyError(Exception):
    """librdkafka refuses the properties of a cluster."""


@attrs.frozen
class Handles:
    """What one librdkafka client cannot do alone."""

    admin: BatchAdmin
    coordinators: Coordinators


@attrs.frozen
class Call:
    """What the work in a thread is given."""

    admin: BatchAdmin
    coordinators: Coordinators
    other_coordinators: Callable[[], Coordinators | None]
    """Makes another handle for asking them; None where that takes too long or cannot be done."""
    deadline: float
    """On `time.monotonic`'s clock."""
    abandoned: Callable[[], bool]
    """Whether nobody waits for the answer any more."""

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, at least one millisecond: librdkafka takes no zero."""
        return max(0.001, self.deadline - monotonic())


class Client:
    """Runs calls of one AdminClient in threads, under a limiter and with deadlines."""

    def __init__(self, cluster: str, properties: Mapping[str, str], *, threads: int, timeout: float) -> None:
        """Take the properties, which `open` checks."""
        self.cluster = cluster
        self._properties = dict(properties)
        self._timeout = timeout
        self._limiter = trio.CapacityLimiter(threads)
        secrets = (value for name, value in properties.items() if name != "bootstrap.servers")
        self.redact = redactor(secrets)
        self._logger = logging.Logger("librdkafka")
        self._log = LibraryLog(cluster, self.redact)
        self._logger.addHandler(self._log)
        self._causes = Causes()
        self._handles: Handles | None = None
        self._handles_maker = Maker(self._connect, _destroy)
        self._coordinators_maker = Maker(self._connect_to_coordinators, Coordinators.destroy)
        self.worker = WorkerProcess(cluster, self._common(), self._base_config(), self._logger.info)

    @classmethod
    async def open(
        cls,
        cluster: str,
        properties: Mapping[str, str],
        *,
        threads: int,
        timeout: float,  # noqa: ASYNC109 - of each call
    ) -> Client:
        """A client whose properties have been checked; nothing is connected yet.

        It takes as long as reading the files that they name does, until it is cancelled.

        Raises:
            PropertyError: librdkafka refuses one of the properties.
            ShortageError: the system has no more threads or descriptors.

        """
        client = cls(cluster, properties, threads=threads, timeout=timeout)
        client._handles = await client._handles_maker.made()
        return client

    def _base_config(self) -> dict[str, str]:
        # A broker that hangs is asked again and again until its connection breaks, since librdkafka prefers
        # the one it used last: after a minute, if it is left to itself.
        hangs = min(_LONGEST_SILENCE, max(_SHORTEST_SILENCE, self._timeout))
        return {"socket.timeout.ms": str(round(hangs * 1000)), **self._common()}

    def _common(self) -> dict[str, str]:
        return {"client.id": _CLIENT_ID, **_reconnecting_soon(self._properties), **self._properties}

    def _connect(self) -> Handles:
        if lacking := missing_kerberos(self._properties, built_in()):
            raise PropertyError(lacking)
        noting: dict[str, Any] = {"error_cb": self._causes.note}
        with self._making(clients=2) as files:
            coordinators = Coordinators({**self._common(), **files})
            try:
                admin = BatchAdmin({**self._base_config(), **noting, **files}, logger=self._logger)
            except BaseException:
                coordinators.destroy()
                raise
        return Handles(admin, coordinators)

    def _connect_to_coordinators(self) -> Coordinators:
        with self._making(clients=1) as files:
            return Coordinators({**self._common(), **files})

    @contextmanager
    def _making(self, *, clients: int) -> Iterator[dict[str, str]]:
        """So many clients may be made in this block, of properties that name these files instead.

        Raises:
            PropertyError: librdkafka refuses one of the properties.
            ShortageError: the system has no more threads or descriptors.

        """
        servers = self._properties.get("bootstrap.servers", "").count(",") + 1
        threads = clients * (_THREADS + _THREADS_PER_SERVER * servers) + _SPARE
        files = clients * (_FILES + _FILES_PER_SERVER * servers) + _SPARE
        with in_memory(self._properties) as properties, room_for(threads=threads, files=files):
            try:
                yield {name: properties[name] for name in files_of(properties)}
            except KafkaException as exc:
                raise PropertyError(self.redact(exc.args[0].str())) from None

    async def _made(self, maker: Maker[T], stage: str, seconds: float) -> T:
        """What the maker makes within so many seconds.

        Raises:
            ClusterUnavailable: it takes longer, or cannot be made.

        """
        try:
            with trio.fail_after(max(0.0, seconds)):
                return await maker.made()
        except trio.TooSlowError:
            files = names_of_files(self._properties) or "the system"
            fault = Fault("_TIMED_OUT", f"a new Kafka client still waits for {files}", retriable=True)
        except PropertyError as exc:  # a certificate that is gone for a moment, say
            fault = Fault("_INVALID_ARG", str(exc))
        except ShortageError as exc:
            fault = _no_room(exc)
        raise ClusterUnavailable(stage, fault)

    def fault(self, error: KafkaError) -> Fault:
        """The error in our terms, without any configured value."""
        return self.refine(fault_of(error))

    def refine(self, fault: Fault) -> Fault:
        """The fault without any configured value, and as one of TLS where that is what it is about."""
        hung_up = _SHAKING_HANDS in fault.message and not self._causes.reached
        message = self.redact(fault.message)
        if fault.code == "_TRANSPORT" and (hung_up or any(words in fault.message for words in _TLS)):
            return Fault("_SSL", message)
        return attrs.evolve(fault, message=message)

    def seconds(self, within: float | None = None) -> float:
        """How long a question may take: so long, else the timeout, and half of the time there is at most.

        So one that hangs costs what it alone would have told, and not the whole cycle.
        """
        left = trio.current_effective_deadline() - trio.current_time()
        return min(self._timeout if within is None else within, left / 2)

    async def call(self, stage: str, work: Callable[[Call], T], *, within: float | None = None) -> T:
        """Run `work` in a thread; when we are cancelled it is left to end by its own deadline.

        That is as far away as `seconds` says.

        Raises:
            ClusterUnavailable: librdkafka failed, with the cause that it named besides, or the system has no
                thread for it.

        """
        began = monotonic()
        deadline = began + self.seconds(within)
        await self._reconnect(stage, deadline - monotonic())
        try:
            answer = await self._in_thread(stage, work, deadline, self._opened(stage))
        except ShortageError as exc:
            raise ClusterUnavailable(stage, _no_room(exc)) from None
        if isinstance(answer, _Failed):
            raise ClusterUnavailable(stage, self.cause(self.fault(answer.error)))
        self._causes.answered(answer, since=began)
        return answer

    def _opened(self, stage: str) -> Handles:
        if self._handles is None:
            raise ClusterUnavailable(stage, Fault("_DESTROY", "the client is closed"))
        return self._handles

    async def _reconnect(self, stage: str, seconds: float) -> None:
        """Replace the handle for coordinators where it is spent.

        An error keeps the frames that it came through, and so none of them names a handle.
        """
        if self._opened(stage).coordinators.spent:
            coordinators = await self._made(self._coordinators_maker, stage, seconds)
            # Another call may have got the same, or a recycled client may have come meanwhile.
            if self._opened(stage).coordinators.spent:
                self._handles = attrs.evolve(self._opened(stage), coordinators=coordinators)

    async def _other_coordinators(self, stage: str, deadline: float) -> Coordinators | None:
        try:
            return await self._made(self._coordinators_maker, stage, deadline - monotonic())
        except ClusterUnavailable:
            return None  # The next call needs one, and says so.

    async def _in_thread(
        self, stage: str, work: Callable[[Call], T], deadline: float, handles: Handles
    ) -> T | _Failed:
        abandoned = threading.Event()
        others = partial(trio.from_thread.run, self._other_coordinators, stage, deadline)
        call = Call(handles.admin, handles.coordinators, others, deadline, abandoned.is_set)
        job = partial(_carry_out, work, call)
        # An error keeps the frames that it came through: what they name would live as long as it.
        del handles, call
        try:
            return await trio.to_thread.run_sync(job, limiter=self._limiter, abandon_on_cancel=True)
        except RuntimeError as exc:
            if (missing := shortage(exc)) is None:
                raise
            raise ShortageError(missing) from None
        finally:
            del job
            abandoned.set()

    def cause(self, fault: Fault) -> Fault:
        """The fault, or what librdkafka said was behind it: a refused login shows up as a timeout only."""
        cause = self._causes.behind(fault)
        if cause is not None:
            return self.fault(cause)
        if fault.code == "_TRANSPORT" and self._log.disconnected and not self._causes.reached:
            # A listener that expects TLS or a login hangs up on whoever comes without, and says nothing.
            ended = self.redact(self._log.disconnected)
            code = "_SSL" if _SHAKING_HANDS in ended else fault.code
            message = f"{ended}: does security.protocol fit the brokers' listener?"
            return attrs.evolve(fault, code=code, message=message)
        return fault

    async def hear(self) -> None:
        """Take in what librdkafka says while nothing is asked, which it would keep, until cancelled.

        An exception that comes of it is a bug, which is logged once and costs no other cluster anything.
        """
        logged = False
        while True:
            try:
                if self._handles is not None:
                    await self._in_thread("hearing", _nothing, monotonic(), self._handles)
            except ShortageError:
                pass  # Every cycle says so.
            except Exception:
                if not logged:
                    log = structlog.get_logger(__name__).bind(cluster=self.cluster)
                    log.exception("a bug in taking in what librdkafka says")
                logged = True
            await trio.sleep(_HEARING_SECONDS)

    async def recycle(self) -> None:
        """Replace the librdkafka client by a new one, once nobody uses the old one.

        Raises:
            ClusterUnavailable: the properties are refused by now, or reading the files that they name takes
                longer than the timeout, so that the old one stays.
        """
        fresh = await self._made(self._handles_maker, "recycle", self.seconds())
        await self.aclose()
        self._handles = fresh

    async def aclose(self) -> bool:
        """Let go of the client; False where that took longer than it may.

        librdkafka crashes when a client is destroyed under a running call, so that one is left alone:
        its thread holds the last reference and ends it.
        """
        ending, self._handles = [self._handles], None
        await self.worker.end()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _DRAIN_SECONDS) as scope:
            # A limiter has no event for its last token.
            while self._limiter.borrowed_tokens:  # noqa: ASYNC110
                await trio.sleep(0.01)
            # In a thread, since librdkafka waits for its own threads here.
            await trio.to_thread.run_sync(_end, ending, abandon_on_cancel=True)
        return not scope.cancelled_caught


def _reconnecting_soon(properties: Mapping[str, str]) -> Mapping[str, str]:
    """How long to wait for a broker that was away: librdkafka's 10 s would pass for a longer outage."""
    chosen = any(name.startswith("reconnect.backoff.") for name in properties)
    return {} if chosen else {"reconnect.backoff.max.ms": "1000"}


@attrs.frozen
class _Failed:
    """What librdkafka raised in a thread, without the frames that an exception keeps alive."""

    error: KafkaError


def _no_room(exc: ShortageError) -> Fault:
    return Fault(_NO_ROOM, str(exc), retriable=True)


def _destroy(handles: Handles) -> None:
    handles.coordinators.destroy()


def _end(last_reference: list[Handles | None]) -> None:
    handles = last_reference.pop()
    if handles is not None:
        _destroy(handles)


def _nothing(_: Call) -> None:
    """Ask nothing: what librdkafka says is handed out after every call."""


def _carry_out(work: Callable[[Call], T], call: Call) -> T | _Failed:
    try:
        try:
            return work(call)
        finally:
            call.admin.hand_out()
    except KafkaException as exc:
        return _Failed(exc.args[0])
    except UnicodeDecodeError:
        # confluent_kafka takes topics' names and log lines for UTF-8; no client can make them anything else.
        return _Failed(KafkaError(KafkaError._BAD_MSG, "a broker sent a text that is no UTF-8"))
