"""Committed offsets of any group, asked for over a handle on which librdkafka survives a moved coordinator.

An AdminClient would do, but for one thing: where a broker answers that it no longer coordinates a group, as
each does while it is being restarted, librdkafka (up to 2.16 at least) looks for the consumer group of the
handle itself, which an AdminClient has none of, and ends the process with a segmentation fault (librdkafka's
issue 5040). A consumer's handle has one. Python's Consumer does not offer the call, so it is made here
through librdkafka's public C interface, in the library that confluent_kafka has loaded.
"""

from __future__ import annotations

import ctypes
import itertools
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ctypes import CDLL, POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from typing import Any

from confluent_kafka import KafkaError, KafkaException, cimpl

from klag_trio.domain.offsets import TopicPartition

Answer = dict[TopicPartition, "int | KafkaError"] | KafkaError
"""A group's committed offsets, or why there are none; a negative offset is none."""

_CONSUMER = 1
_LIST_CONSUMER_GROUP_OFFSETS = 14
_DESTROY_WITHOUT_CLOSE = 8
_ERROR_SIZE = 512


class _TopicPartition(ctypes.Structure):
    _fields_ = (
        ("topic", c_char_p),
        ("partition", c_int32),
        ("offset", c_int64),
        ("metadata", c_void_p),
        ("metadata_size", c_size_t),
        ("opaque", c_void_p),
        ("err", c_int),
        ("private", c_void_p),
    )


class _TopicPartitionList(ctypes.Structure):
    _fields_ = (("cnt", c_int), ("size", c_int), ("elems", POINTER(_TopicPartition)))


_SIGNATURES: Mapping[str, tuple[Any, ...]] = {
    # The type of the result, then those of the arguments.
    "rd_kafka_conf_new": (c_void_p,),
    "rd_kafka_conf_set": (c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t),
    "rd_kafka_conf_set_log_cb": (None, c_void_p, c_void_p),
    "rd_kafka_conf_enable_sasl_queue": (None, c_void_p, c_int),
    "rd_kafka_conf_destroy": (None, c_void_p),
    "rd_kafka_new": (c_void_p, c_int, c_void_p, c_char_p, c_size_t),
    "rd_kafka_sasl_background_callbacks_enable": (c_void_p, c_void_p),
    "rd_kafka_destroy_flags": (None, c_void_p, c_int),
    "rd_kafka_queue_new": (c_void_p, c_void_p),
    "rd_kafka_queue_poll": (c_void_p, c_void_p, c_int),
    "rd_kafka_queue_destroy": (None, c_void_p),
    "rd_kafka_AdminOptions_new": (c_void_p, c_void_p, c_int),
    "rd_kafka_AdminOptions_set_request_timeout": (c_int, c_void_p, c_int, c_char_p, c_size_t),
    "rd_kafka_AdminOptions_set_opaque": (None, c_void_p, c_void_p),
    "rd_kafka_AdminOptions_destroy": (None, c_void_p),
    "rd_kafka_ListConsumerGroupOffsets_new": (c_void_p, c_char_p, c_void_p),
    "rd_kafka_ListConsumerGroupOffsets": (None, c_void_p, POINTER(c_void_p), c_size_t, c_void_p, c_void_p),
    "rd_kafka_ListConsumerGroupOffsets_destroy": (None, c_void_p),
    "rd_kafka_event_opaque": (c_void_p, c_void_p),
    "rd_kafka_event_error": (c_int, c_void_p),
    "rd_kafka_event_error_string": (c_char_p, c_void_p),
    "rd_kafka_event_ListConsumerGroupOffsets_result": (c_void_p, c_void_p),
    "rd_kafka_event_destroy": (None, c_void_p),
    "rd_kafka_ListConsumerGroupOffsets_result_groups": (POINTER(c_void_p), c_void_p, POINTER(c_size_t)),
    "rd_kafka_group_result_error": (c_void_p, c_void_p),
    "rd_kafka_group_result_partitions": (POINTER(_TopicPartitionList), c_void_p),
    "rd_kafka_error_code": (c_int, c_void_p),
    "rd_kafka_error_string": (c_char_p, c_void_p),
    "rd_kafka_error_destroy": (None, c_void_p),
}


class Fetch:
    """Requests that are under way, and their answers as they come; for one thread."""

    def __init__(self, lib: CDLL, handle: int, queue: int) -> None:
        self._lib = lib
        self._handle = handle
        self._queue = queue
        self._numbers = itertools.count(1)
        self._groups: dict[int, str] = {}

    def send(self, group: str, timeout: float) -> None:
        """Ask for one group's offsets; an answer comes within `timeout` seconds, if only that time is up."""
        lib = self._lib
        number = next(self._numbers)
        self._groups[number] = group
        options = lib.rd_kafka_AdminOptions_new(self._handle, _LIST_CONSUMER_GROUP_OFFSETS)
        request = lib.rd_kafka_ListConsumerGroupOffsets_new(group.encode(), None)
        try:
            error = ctypes.create_string_buffer(_ERROR_SIZE)
            milliseconds = max(1, int(timeout * 1000))
            if lib.rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, error, _ERROR_SIZE):
                raise ValueError(error.value.decode())
            lib.rd_kafka_AdminOptions_set_opaque(options, number)
            requests = (c_void_p * 1)(request)
            lib.rd_kafka_ListConsumerGroupOffsets(self._handle, requests, 1, options, self._queue)
        finally:
            lib.rd_kafka_ListConsumerGroupOffsets_destroy(request)
            lib.rd_kafka_AdminOptions_destroy(options)

    def receive(self) -> tuple[str, Answer]:
        """Wait for the next answer; one must be under way."""
        lib = self._lib
        event = lib.rd_kafka_queue_poll(self._queue, -1)
        try:
            return self._groups.pop(lib.rd_kafka_event_opaque(event)), self._answer(event)
        finally:
            lib.rd_kafka_event_destroy(event)

    def _answer(self, event: int) -> Answer:
        lib = self._lib
        if code := lib.rd_kafka_event_error(event):
            return _error(code, lib.rd_kafka_event_error_string(event))
        count = c_size_t()
        result = lib.rd_kafka_event_ListConsumerGroupOffsets_result(event)
        group = lib.rd_kafka_ListConsumerGroupOffsets_result_groups(result, byref(count))[0]
        if error := lib.rd_kafka_group_result_error(group):
            return _error(lib.rd_kafka_error_code(error), lib.rd_kafka_error_string(error))
        listed = lib.rd_kafka_group_result_partitions(group).contents
        offsets: dict[TopicPartition, int | KafkaError] = {}
        for partition in listed.elems[: listed.cnt]:
            tp = TopicPartition(partition.topic.decode(), partition.partition)
            offsets[tp] = KafkaError(partition.err) if partition.err else partition.offset
        return offsets


class OffsetFetcher:
    """A handle for fetching offsets; it is destroyed with the last reference to it."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        """Check the properties; nothing is connected yet.

        Raises:
            KafkaException: librdkafka refuses one of the properties.

        """
        self._handle = 0
        self._lib = lib = _library()
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        conf = lib.rd_kafka_conf_new()
        # The AdminClient beside this says what there is to say about the connection.
        lib.rd_kafka_conf_set_log_cb(conf, None)
        lib.rd_kafka_conf_enable_sasl_queue(conf, 1)
        for name, value in {**properties, "group.id": f"klag-trio-{uuid.uuid4()}"}.items():
            if lib.rd_kafka_conf_set(conf, name.encode(), value.encode(), error, _ERROR_SIZE):
                lib.rd_kafka_conf_destroy(conf)
                raise KafkaException(_error(KafkaError._INVALID_ARG, error.value))
        self._handle = lib.rd_kafka_new(_CONSUMER, conf, error, _ERROR_SIZE)
        if not self._handle:
            lib.rd_kafka_conf_destroy(conf)
            raise KafkaException(_error(KafkaError._INVALID_ARG, error.value))
        # Nobody polls this handle, and so tokens are refreshed in the background. It fails without tokens.
        if none := lib.rd_kafka_sasl_background_callbacks_enable(self._handle):
            lib.rd_kafka_error_destroy(none)

    @contextmanager
    def fetch(self) -> Iterator[Fetch]:
        """Ask within this block; what has not been answered at its end is dropped."""
        queue = self._lib.rd_kafka_queue_new(self._handle)
        try:
            yield Fetch(self._lib, self._handle, queue)
        finally:
            self._lib.rd_kafka_queue_destroy(queue)

    def __del__(self) -> None:
        if self._handle:
            self._lib.rd_kafka_destroy_flags(self._handle, _DESTROY_WITHOUT_CLOSE)


def _library() -> CDLL:
    """librdkafka, as confluent_kafka has loaded it: its module's symbols include those of its libraries."""
    library = CDLL(cimpl.__file__)
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _error(code: int, reason: bytes) -> KafkaError:
    return KafkaError(code, reason.decode(errors="replace"))
