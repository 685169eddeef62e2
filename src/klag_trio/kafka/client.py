"""One librdkafka client per cluster: its properties, its threads, what it says, and its end."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import attrs
import structlog
import trio
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import ListOffsetsResultInfo

from klag_trio.domain.offsets import ClusterUnavailable, Fault
from klag_trio.kafka.causes import Causes
from klag_trio.kafka.coordinators import Coordinators
from klag_trio.kafka.faults import fault_of
from klag_trio.kafka.features import built_in, missing_kerberos
from klag_trio.kafka.redact import redactor
from klag_trio.kafka.worker_process import WorkerProcess
from klag_trio.stopping import CLIENT_SECONDS

T = TypeVar("T")
Redact = Callable[[str], str]

_CLIENT_ID = "klag-trio"
_READ_UNCOMMITTED = 0
_DRAIN_SECONDS = CLIENT_SECONDS
_HEARING_SECONDS = 10.0
# What librdkafka calls a broken connection, although it is about certificates.
_TLS = ("SSL handshake failed", "SSL alert number")
# That a listener hung up is about TLS too where none has ever answered.
_SHAKING_HANDS = "in state SSL_HANDSHAKE"
_DISCONNECTED = re.compile(r"FAIL .*?\]: (.*?: Disconnected: .*)")
# librdkafka refuses less for a consumer; its own default is the longest.
_SHORTEST_SILENCE = 2.0
_LONGEST_SILENCE = 60.0


class PropertyError(Exception):
    """librdkafka refuses the properties of a cluster."""


class BatchAdmin(AdminClient):
    """An AdminClient that answers a batch of offsets with one future.

    The public call makes a future for every partition, which costs three times what the request does.
    """

    def __init__(self, conf: dict[str, Any], logger: logging.Logger) -> None:
        super().__init__(conf, logger=logger)
        self._handing_out = threading.Lock()

    def hand_out(self) -> None:
        """Hand out librdkafka's log lines and errors, which queue up until then.

        Afterwards all have been heard, even where another thread has begun to hand them out.
        """
        with self._handing_out:
            self.poll(0)

    def offsets(
        self, partitions: list[KafkaTopicPartition], timeout: float
    ) -> Future[dict[KafkaTopicPartition, ListOffsetsResultInfo | KafkaError]]:
        """ListOffsets for partitions whose `offset` holds the wanted OffsetSpec, in one request a leader."""
        future: Future[dict[KafkaTopicPartition, ListOffsetsResultInfo | KafkaError]] = Future()
        # The parent of AdminClient is the call that AdminClient.list_offsets wraps.
        super(AdminClient, self).list_offsets(
            partitions, future, isolation_level_value=_READ_UNCOMMITTED, request_timeout=timeout
        )
        return future


class LibraryLog(logging.Handler):
    """Passes librdkafka's own log lines on, redacted, at debug level: what matters comes back as an error."""

    def __init__(self, cluster: str, redact: Redact) -> None:
        super().__init__()
        self.disconnected = ""
        """The last that was said of a connection that ended."""
        self._log = structlog.get_logger("librdkafka").bind(cluster=cluster)
        self._redact = redact

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one line on."""
        message = record.getMessage()
        if ended := _DISCONNECTED.search(message):
            self.disconnected = ended[1]
        # An AdminClient says so of every consumer property, which another client of ours does use.
        if "is a consumer property and will be ignored" not in message:
            self._log.debug(self._redact(message))


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
        """Check the properties; nothing is connected yet.

        Raises:
            PropertyError: librdkafka refuses one of the properties.

        """
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
        self._handles: Handles | None = self._connect()
        self.worker = WorkerProcess(cluster, self._common(), self._base_config(), self._logger.info)

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
        try:
            noting: dict[str, Any] = {**self._base_config(), "error_cb": self._causes.note}
            return Handles(BatchAdmin(noting, logger=self._logger), self._connect_to_coordinators())
        except KafkaException as exc:
            raise PropertyError(self.redact(exc.args[0].str())) from None

    def _connect_to_coordinators(self) -> Coordinators:
        return Coordinators(self._common())

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
            ClusterUnavailable: librdkafka failed, with the cause that it named besides.

        """
        began = monotonic()
        deadline = began + self.seconds(within)
        answer = await self._in_thread(work, deadline, self._current(stage))
        if isinstance(answer, _Failed):
            raise ClusterUnavailable(stage, self.cause(self.fault(answer.error)))
        self._causes.answered(answer, since=began)
        return answer

    def _current(self, stage: str) -> Handles:
        """The handles to use."""
        if self._handles is None:
            raise ClusterUnavailable(stage, Fault("_DESTROY", "the client is closed"))
        if self._handles.coordinators.spent:
            try:
                coordinators = self._connect_to_coordinators()
            except KafkaException as exc:  # a certificate that is gone for a moment, say
                raise ClusterUnavailable(stage, self.fault(exc.args[0])) from None
            self._handles = attrs.evolve(self._handles, coordinators=coordinators)
        return self._handles

    async def _in_thread(self, work: Callable[[Call], T], deadline: float, handles: Handles) -> T | _Failed:
        abandoned = threading.Event()
        call = Call(handles.admin, handles.coordinators, deadline, abandoned.is_set)
        job = partial(_carry_out, work, call)
        # An error keeps the frames that it came through: what they name would live as long as it.
        del handles, call
        try:
            return await trio.to_thread.run_sync(job, limiter=self._limiter, abandon_on_cancel=True)
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
                    await self._in_thread(_nothing, monotonic(), self._handles)
            except Exception:
                if not logged:
                    log = structlog.get_logger(__name__).bind(cluster=self.cluster)
                    log.exception("a bug in taking in what librdkafka says")
                logged = True
            await trio.sleep(_HEARING_SECONDS)

    async def recycle(self) -> None:
        """Replace the librdkafka client by a new one, once nobody uses the old one.

        Raises:
            ClusterUnavailable: the properties are refused by now, so that the old one stays.
        """
        try:
            fresh = self._connect()
        except PropertyError as exc:
            raise ClusterUnavailable("recycle", Fault("_INVALID_ARG", str(exc))) from None
        await self.aclose()
        self._handles = fresh

    async def aclose(self) -> bool:
        """Let go of the client; False where that took longer than a second.

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


def _end(last_reference: list[Handles | None]) -> None:
    handles = last_reference.pop()
    if handles is not None:
        handles.coordinators.destroy()


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
