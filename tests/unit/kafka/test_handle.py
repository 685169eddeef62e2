"""What a handle keeps and how it ends, on an address where nobody listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from ctypes import c_int, c_void_p
from pathlib import Path

import attrs
import pytest
from confluent_kafka import KafkaException

from klag_trio.kafka.fetcher import Fetcher
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


REFUSED = {
    "a property that there is not": ({"no.such": "property"}, "no.such"),
    "a value that is none": ({"socket.timeout.ms": "soon"}, "socket.timeout.ms"),
    "a certificate that is not there": (
        {"security.protocol": "SSL", "ssl.ca.location": "/none.pem"},
        "ssl.ca.location",
    ),
}


def pipes() -> set[str]:
    """The pipes of this process."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it has just been closed
            found.add(str(descriptor.readlink()))
    return {target for target in found if target.startswith("pipe:")}


@pytest.mark.parametrize(("properties", "named"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("make", [Handle, lambda properties: Fetcher(properties, print)])
def test_what_librdkafka_refuses_is_named_and_leaves_no_descriptor_behind(
    make: Callable[[dict[str, str]], Handle], properties: dict[str, str], named: str
) -> None:
    before = pipes()
    with pytest.raises(KafkaException, match=named):
        make({"bootstrap.servers": "127.0.0.1:1", "group.id": "nobody", **properties})
    assert pipes() <= before


def test_a_fetcher_without_a_descriptor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("os.pipe", none_left)
    with pytest.raises(KafkaException, match="no descriptor for a reader: Too many open files"):
        Fetcher(TALKATIVE, print)


def test_leaders_that_cannot_be_asked_for_are_an_error() -> None:
    fetcher = Fetcher(TALKATIVE, lambda _: None)
    with pytest.raises(KafkaException):
        fetcher.find_leaders(0.1)
    fetcher.destroy()
