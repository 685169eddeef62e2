"""confluent_kafka's AdminClient, with batches of offsets, and the way of what librdkafka logs."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import structlog
from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import ListOffsetsResultInfo

Redact = Callable[[str], str]

_READ_UNCOMMITTED = 0
_DISCONNECTED = re.compile(r"FAIL .*?\]: (.*?: Disconnected: .*)")


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
