"""A client that anybody may write: a member of a group, with names and an assignment of any bytes.

It speaks Kafka's protocol over a bare socket: JoinGroup version 2, SyncGroup version 1, LeaveGroup version 1.
"""

from __future__ import annotations

import itertools
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.broker.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

JOIN_GROUP, LEAVE_GROUP, SYNC_GROUP = 11, 13, 14
COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR = 14, 15, 16
REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED = 27, 79
PASSING = {
    COORDINATOR_LOAD_IN_PROGRESS,
    COORDINATOR_NOT_AVAILABLE,
    NOT_COORDINATOR,
    REBALANCE_IN_PROGRESS,
}
SESSION_MS = 60_000


def text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


def data(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def assignment(owned: dict[bytes, list[int]], version: int = 0) -> bytes:
    """An assignment as the consumer protocol has it."""
    topics = b"".join(
        text(topic) + struct.pack(f">i{len(numbers)}i", len(numbers), *numbers)
        for topic, numbers in owned.items()
    )
    return struct.pack(">hi", version, len(owned)) + topics + data(b"")


class Answer:
    """Fields of an answer, read one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f">{kind}", self._body, self._at)
        self._at += struct.calcsize(f">{kind}")
        return int(value)

    def text(self) -> bytes:
        length = self.number("h")
        value = self._body[self._at : self._at + length]
        self._at += length
        return value


class Stranger:
    """A member of a classic group of its own."""

    def __init__(self, bootstrap: str, group: bytes, client_id: bytes = b"stranger") -> None:
        host, port = bootstrap.split(",")[0].rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=SECONDS)
        self._numbers = itertools.count()
        self._group = group
        self._client_id = client_id
        self._member = b""
        self._generation = -1

    def join(self, metadata: bytes = bytes(10)) -> None:
        """Join the group, as its leader since there is no other member."""

        def joined() -> bool:
            answer = self._ask(
                JOIN_GROUP,
                2,
                text(self._group)
                + struct.pack(">ii", SESSION_MS, SESSION_MS)
                + text(self._member)
                + text(b"consumer")
                + struct.pack(">i", 1)
                + text(b"range")
                + data(metadata),
            )
            answer.number("i")  # throttled for so many milliseconds
            error = answer.number("h")
            assert error in PASSING or not error, f"JoinGroup: error {error}"
            self._generation = answer.number("i")
            answer.text()
            answer.text()
            self._member = answer.text() if not error else self._member
            return not error

        wait_until(joined, "the stranger joins")

    def own(self, raw: bytes) -> None:
        """Have these bytes for an assignment."""

        def done() -> bool:
            self.join()
            answer = self._ask(
                SYNC_GROUP,
                1,
                text(self._group)
                + struct.pack(">i", self._generation)
                + text(self._member)
                + struct.pack(">i", 1)
                + text(self._member)
                + data(raw),
            )
            answer.number("i")
            error = answer.number("h")
            assert error in PASSING or not error, f"SyncGroup: error {error}"
            return not error

        wait_until(done, "the broker takes the assignment")

    def leave(self) -> None:
        """Leave, so that the group has no member."""
        self._ask(LEAVE_GROUP, 1, text(self._group) + text(self._member))
        self._socket.close()

    def _ask(self, api_key: int, version: int, body: bytes) -> Answer:
        number = next(self._numbers)
        self._socket.sendall(
            data(struct.pack(">hhi", api_key, version, number) + text(self._client_id) + body)
        )
        answer = Answer(self._exactly(struct.unpack(">i", self._exactly(4))[0]))
        assert number == answer.number("i")
        return answer

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            assert part, "the broker closed the connection"
            received += part
        return received


@contextmanager
def owning(
    bootstrap: str, group: bytes, raw: bytes, *, client_id: bytes = b"stranger", metadata: bytes = bytes(10)
) -> Iterator[Stranger]:
    """A member that has these bytes for an assignment and is gone after the block."""
    stranger = Stranger(bootstrap, group, client_id)
    stranger.own(raw)
    try:
        yield stranger
    finally:
        stranger.leave()
