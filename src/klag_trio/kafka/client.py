"""One librdkafka client per cluster: its properties, its threads, what it says, and its end."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from time import monotonic
from typing import Any, TypeVar

import attrs
import structlog
import trio
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import ListOffsetsResultInfo

from klag_trio.domain.offsets import ClusterUnavailable, Fault
from klag_trio.kafka.coordinators import Coordinators
from klag_trio.kafka.redact import redactor

T = TypeVar("T")
Redact = Callable[[str], str]

_CLIENT_ID = "klag-trio"
_READ_UNCOMMITTED = 0
_DRAIN_SECONDS = 1.0
# What librdkafka reports besides the error that was the cause of it.
_CONSEQUENCES = frozenset({"_ALL_BROKERS_DOWN", "_DESTROY"})
_PASSING = frozenset(
    {
        "_TRANSPORT",
        "_TIMED_OUT",
        "_TIMED_OUT_QUEUE",
        "_WAIT_COORD",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "GROUP_COORDINATOR_NOT_AVAILABLE",
        "GROUP_LOAD_IN_PROGRESS",
        "NOT_COORDINATOR",
        "NOT_COORDINATOR_FOR_GROUP",
        "REQUEST_TIMED_OUT",
    }
)


class PropertyError(Exception):
    """librdkafka refuses the properties of a cluster."""


class BatchAdmin(AdminClient):
    """An AdminClient that answers a batch of offsets with one future.

    The public call makes a future for every partition, which costs three times what the request does.
    """

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
        self._log = structlog.get_logger("librdkafka").bind(cluster=cluster)
        self._redact = redact

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one line on."""
        message = record.getMessage()
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
        self._logger.addHandler(LibraryLog(cluster, self.redact))
        self._causes: deque[KafkaError] = deque(maxlen=16)
        self._handles: Handles | None = self._connect()

    def _base_config(self) -> dict[str, Any]:
        return {"client.id": _CLIENT_ID, **self._properties, "error_cb": self._causes.append}

    def _connect(self) -> Handles:
        try:
            return Handles(
                BatchAdmin(self._base_config(), logger=self._logger), self._connect_to_coordinators()
            )
        except KafkaException as exc:
            raise PropertyError(self.redact(exc.args[0].str())) from None

    def _connect_to_coordinators(self) -> Coordinators:
        return Coordinators({"client.id": _CLIENT_ID, **self._properties})

    def consumer(self, own: Mapping[str, Any]) -> Consumer:
        """Make a consumer; its `own` properties come before the configured ones.

        Raises:
            KafkaException: librdkafka refuses the properties.
        """
        return Consumer({**self._base_config(), **own}, logger=self._logger)

    def fault(self, error: KafkaError) -> Fault:
        """The error in our terms, without any configured value."""
        name = error.name()
        return Fault(name, self.redact(error.str()), retriable=error.retriable() or name in _PASSING)

    async def call(self, stage: str, work: Callable[[Call], T], *, within: float | None = None) -> T:
        """Run `work` in a thread; when we are cancelled it is left to end by its own deadline.

        Raises:
            ClusterUnavailable: librdkafka failed, with the cause that it named besides.

        """
        handles = self._handles
        if handles is None:
            raise ClusterUnavailable(stage, Fault("_DESTROY", "the client is closed"))
        admin, coordinators = handles.admin, handles.coordinators
        replaced = []
        if coordinators.overdue:
            replaced.append(coordinators)
            try:
                coordinators = self._connect_to_coordinators()
            except KafkaException as exc:  # a certificate that is gone for a moment, say
                raise ClusterUnavailable(stage, self.fault(exc.args[0])) from None
            handles = self._handles = Handles(admin, coordinators)
        abandoned = threading.Event()
        deadline = monotonic() + (self._timeout if within is None else within)

        def run() -> T:
            # Where nobody else holds it any more it ends here, since librdkafka waits for its own threads.
            replaced.clear()
            try:
                return work(Call(admin, coordinators, deadline, abandoned.is_set))
            finally:
                admin.poll(0)  # hands out librdkafka's log lines and errors, which queue up until then

        try:
            return await trio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)
        except KafkaException as exc:
            raise ClusterUnavailable(stage, self.cause(self.fault(exc.args[0]))) from None
        finally:
            abandoned.set()

    def cause(self, fault: Fault) -> Fault:
        """The fault, or what librdkafka said was behind it: a refused login shows up as a timeout only."""
        causes = [error for error in list(self._causes) if error.name() not in _CONSEQUENCES]
        self._causes.clear()
        return self.fault(causes[-1]) if causes else fault

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
        last_reference = [self._handles]
        self._handles = None
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _DRAIN_SECONDS) as scope:
            # A limiter has no event for its last token.
            while self._limiter.borrowed_tokens:  # noqa: ASYNC110
                await trio.sleep(0.01)
            # In a thread, since librdkafka waits for its own threads here.
            await trio.to_thread.run_sync(last_reference.clear, abandon_on_cancel=True)
        return not scope.cancelled_caught
