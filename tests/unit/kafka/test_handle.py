"""What a handle keeps and how it ends, on an address where nobody listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from ctypes import c_int, c_void_p

import attrs

from klag_trio.kafka.handle import Handle

TALKATIVE = {"bootstrap.servers": "127.0.0.1:1", "group.id": "nobody", "statistics.interval.ms": "1"}
SECONDS = 60.0


class Hoarder(Handle):
    """A handle that keeps what nobody asks for."""

    def drop(self, queues: Iterable[int]) -> None:
        for queue in queues:
            self.lib.rd_kafka_queue_destroy(queue)


def kept(handle: Handle) -> int:
    """How many errors and statistics wait for somebody to ask for them."""
    count = handle.lib.rd_kafka_outq_len
    count.restype, count.argtypes = c_int, (c_void_p,)
    return int(count(handle.handle))


def test_nothing_is_kept_that_nobody_asks_for() -> None:
    handle, hoarder = Handle(TALKATIVE), Hoarder(TALKATIVE)
    deadline = time.monotonic() + SECONDS
    while kept(hoarder) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert 0 == kept(handle)
    handle.destroy()
    hoarder.destroy()


@attrs.define
class End:
    """By which thread a handle was ended, once it was."""

    seen: threading.Event = attrs.field(factory=threading.Event)
    thread: int | None = None


class Watched(Handle):
    def __init__(self, end: End) -> None:
        super().__init__(TALKATIVE)
        self._end = end

    def destroy(self) -> None:
        super().destroy()
        self._end.thread = threading.get_ident()
        self._end.seen.set()


def test_whoever_has_the_last_reference_does_not_wait_for_librdkafka() -> None:
    end = End()
    Watched(end)
    assert end.seen.wait(SECONDS)
    assert threading.get_ident() != end.thread
