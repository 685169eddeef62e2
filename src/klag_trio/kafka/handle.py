"""A consumer of librdkafka's public C interface, for what confluent_kafka's classes do not offer."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, cimpl

from klag_trio.kafka.librdkafka import load
from klag_trio.kafka.text import text

T = TypeVar("T")

_CONSUMER = 1
_DESTROY_WITHOUT_CLOSE = 8
_ERROR_SIZE = 512
_OVERTIME_MS = 200


class Handle:
    """An `rd_kafka_t`, in the library that confluent_kafka has loaded.

    It ends after the last reference to it, in a thread of its own.
    """

    handle: int = 0

    def __init__(self, properties: Mapping[str, str]) -> None:
        """Check the properties; nothing is asked yet.

        Raises:
            KafkaException: librdkafka refuses one of the properties.

        """
        self.lib = lib = load(cimpl.__file__)
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        conf = lib.rd_kafka_conf_new()
        # The AdminClient beside this says what there is to say about the connection.
        lib.rd_kafka_conf_set_log_cb(conf, None)
        lib.rd_kafka_conf_enable_sasl_queue(conf, 1)
        for name, value in properties.items():
            if lib.rd_kafka_conf_set(conf, name.encode(), value.encode(), error, _ERROR_SIZE):
                lib.rd_kafka_conf_destroy(conf)
                raise KafkaException(error_of(KafkaError._INVALID_ARG, error.value))
        self.handle = lib.rd_kafka_new(_CONSUMER, conf, error, _ERROR_SIZE)
        if not self.handle:
            lib.rd_kafka_conf_destroy(conf)
            raise KafkaException(error_of(KafkaError._INVALID_ARG, error.value))
        # Nobody polls this handle, and so tokens are refreshed in the background. It fails without tokens.
        if none := lib.rd_kafka_sasl_background_callbacks_enable(self.handle):
            lib.rd_kafka_error_destroy(none)
        # Errors and statistics, which would be kept until somebody asks for them.
        self.drop([lib.rd_kafka_queue_get_main(self.handle)])

    def ask_for_metadata(self, timeout: float, *, topics: bool) -> None:
        """Have librdkafka find out which brokers there are, and who leads all topics where those are wanted.

        Raises:
            KafkaException: there was no answer within `timeout` seconds.

        """
        found, milliseconds = ctypes.c_void_p(), max(1, int(timeout * 1000))
        code = self.lib.rd_kafka_metadata(self.handle, int(topics), None, ctypes.byref(found), milliseconds)
        if code:
            raise KafkaException(KafkaError(code))
        self.lib.rd_kafka_metadata_destroy(found)

    def request(
        self,
        operation: int,
        send: Callable[[int, int], None],
        read: Callable[[int], T],
        timeout: float,
    ) -> T | KafkaError:
        """Make one admin request and wait for its answer, `timeout` seconds and a little more.

        `operation` is an rd_kafka_admin_op_t. `send` takes the options and the queue for the answer, `read`
        the event, which ends afterwards.
        """
        lib, milliseconds = self.lib, max(1, int(timeout * 1000))
        options = lib.rd_kafka_AdminOptions_new(self.handle, operation)
        queue = lib.rd_kafka_queue_new(self.handle)
        event = None
        try:
            lib.rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, None, 0)
            send(options, queue)
            # librdkafka may take longer than it was given.
            event = lib.rd_kafka_queue_poll(queue, milliseconds + _OVERTIME_MS)
            if not event:
                return KafkaError(KafkaError._TIMED_OUT)
            if code := lib.rd_kafka_event_error(event):
                return error_of(code, lib.rd_kafka_event_error_string(event))
            return read(event)
        finally:
            if event:
                lib.rd_kafka_event_destroy(event)
            lib.rd_kafka_queue_destroy(queue)
            lib.rd_kafka_AdminOptions_destroy(options)

    def drop(self, queues: Iterable[int]) -> None:
        """Let go of queues, of what is in them and of whatever comes to them from now on."""
        # What is forwarded to a queue that has ended has no place to go.
        grave = self.lib.rd_kafka_queue_new(self.handle)
        for queue in queues:
            self.lib.rd_kafka_queue_forward(queue, grave)
            self.lib.rd_kafka_queue_destroy(queue)
        self.lib.rd_kafka_queue_destroy(grave)

    def destroy(self) -> None:
        """End it, and wait for its threads."""
        handle, self.handle = self.handle, 0
        self.lib.rd_kafka_destroy_flags(handle, _DESTROY_WITHOUT_CLOSE)

    def __del__(self) -> None:
        # Where the interpreter ends no thread starts any more, and the handle ends with the process.
        if self.handle and not sys.is_finalizing():
            # The last reference may go anywhere, on the event loop too, and librdkafka waits for its threads,
            # one of which may be looking for an address.
            try:
                threading.Thread(target=self.destroy, name="klag-trio end", daemon=True).start()
            except RuntimeError:  # The system starts no more threads; these end some.
                self.destroy()


def error_of(code: int, reason: bytes | None) -> KafkaError:
    """Make a KafkaError of what the C interface says."""
    return KafkaError(code) if reason is None else KafkaError(code, text(reason))
