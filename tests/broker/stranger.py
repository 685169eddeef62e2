"""A client that anybody may write: a member of a group, with names and an assignment of any bytes.

It speaks Kafka's protocol over a bare socket: JoinGroup version 2, SyncGroup version 1, LeaveGroup version 1,
Produce version 7, OffsetCommit version 2, ConsumerGroupHeartbeat version 1.
"""

from __future__ import annotations

import gzip
import itertools
import socket
import struct
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from tests.broker.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PRODUCE, OFFSET_COMMIT, JOIN_GROUP, LEAVE_GROUP, SYNC_GROUP, CONSUMER_GROUP_HEARTBEAT = 0, 8, 11, 13, 14, 68
GZIP = 1
CASTAGNOLI = 0x82F63B78
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


class Connection:
    """A connection to the first of these brokers, for any request."""

    def __init__(self, bootstrap: str, client_id: bytes = b"stranger") -> None:
        host, port = bootstrap.split(",")[0].rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=SECONDS)
        self._numbers = itertools.count()
        self._client_id = client_id

    def ask(self, api_key: int, version: int, body: bytes, tags: bytes = b"") -> Answer:
        """Make a request, whose header ends with `tags` where its version is flexible (KIP-482)."""
        self.send(api_key, version, body, tags)
        return self.receive()

    def send(self, api_key: int, version: int, body: bytes, tags: bytes = b"") -> None:
        head = struct.pack(">hhi", api_key, version, next(self._numbers)) + text(self._client_id) + tags
        self._socket.sendall(data(head + body))

    def receive(self) -> Answer:
        """The next answer, behind the number of its request."""
        (size,) = struct.unpack(">i", self._exactly(4))
        answer = Answer(self._exactly(size))
        answer.number("i")
        return answer

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            assert part, "the broker closed the connection"
            received += part
        return received


class Stranger:
    """A member of a classic group of its own."""

    def __init__(self, bootstrap: str, group: bytes, client_id: bytes = b"stranger") -> None:
        self._connection = Connection(bootstrap, client_id)
        self._group = group
        self._member = b""
        self._generation = -1

    def join(self, metadata: bytes = bytes(10)) -> None:
        """Join the group, as its leader since there is no other member."""

        def joined() -> bool:
            answer = self._connection.ask(
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

    def own(self, raw: bytes, metadata: bytes = bytes(10)) -> None:
        """Have these bytes for an assignment, and these for a subscription."""

        def done() -> bool:
            self.join(metadata)
            answer = self._connection.ask(
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
        self._connection.ask(LEAVE_GROUP, 1, text(self._group) + text(self._member))
        self._connection.close()


@contextmanager
def owning(
    bootstrap: str, group: bytes, raw: bytes, *, client_id: bytes = b"stranger", metadata: bytes = bytes(10)
) -> Iterator[Stranger]:
    """A member that has these bytes for an assignment and is gone after the block."""
    stranger = Stranger(bootstrap, group, client_id)
    stranger.own(raw, metadata)
    try:
        yield stranger
    finally:
        stranger.leave()


def one_partition(topic: bytes) -> bytes:
    """A topic of one, and of its partitions number 0, as requests and answers begin with it."""
    return struct.pack(">i", 1) + text(topic) + struct.pack(">ii", 1, 0)


def write_gzip_of_two_members(bootstrap: str, topic: str) -> None:
    """Write a record that brokers find, since Java reads all members of gzip; the first one is empty."""
    record = b"\x16\0\0\0\1\x0avalue\0"
    payload, now = gzip.compress(b"") + gzip.compress(record), int(time.time() * 1000)
    summed = struct.pack(">hiqqqhii", GZIP, 0, now, now, -1, -1, -1, 1) + payload
    batch = struct.pack(">qiibI", 0, 9 + len(summed), 0, 2, crc32c(summed)) + summed
    head = struct.pack(">hhi", -1, 1, 10_000) + one_partition(topic.encode())
    with closing(Connection(bootstrap)) as connection:
        answer = connection.ask(PRODUCE, 7, head + data(batch))
    assert (1, topic.encode(), 1, 0) == (
        answer.number("i"),
        answer.text(),
        answer.number("i"),
        answer.number("i"),
    )
    assert 0 == answer.number("h")


def crc32c(summed: bytes) -> int:
    found = 0xFFFFFFFF
    for byte in summed:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (CASTAGNOLI if found & 1 else 0)
    return found ^ 0xFFFFFFFF


@contextmanager
def subscribing(bootstrap: str, group: bytes, topics: Sequence[bytes]) -> Iterator[None]:
    """A member of a group of the newer protocol (KIP-848) that subscribes to these topics."""
    with closing(Connection(bootstrap)) as connection:
        # The epoch of who joins, no instance id, no rack, the milliseconds of a rebalance.
        body = compact(group) + compact(uuid.uuid4().hex.encode()) + struct.pack(">ibbi", 0, 0, 0, 300_000)
        # No regular expression, any assignor, no partition yet, no tags.
        body += varint(len(topics) + 1) + b"".join(map(compact, topics)) + b"\0\0\1\0"
        answer = connection.ask(CONSUMER_GROUP_HEARTBEAT, 1, body, tags=b"\0")
        # The tags of the header, and the milliseconds of throttling.
        assert (0, 0, 0) == (answer.number("b"), answer.number("i"), answer.number("h"))
        yield


def compact(value: bytes) -> bytes:
    return varint(len(value) + 1) + value


def varint(value: int) -> bytes:
    more, last = divmod(value, 0x80)
    return bytes([last | 0x80]) + varint(more) if more else bytes([last])


def commit_as_many_groups(bootstrap: str, topic: str, count: int, prefix: bytes) -> None:
    """Make so many groups, each with a commit."""
    # The broker takes some milliseconds for each commit of a connection, one after the other.
    connections, under_way = 40, 200

    def commit(numbers: Sequence[int]) -> None:
        rest = struct.pack(">ihq", -1, 0, -1) + one_partition(topic.encode()) + struct.pack(">qh", 0, 0)
        with closing(Connection(bootstrap)) as connection:
            for begin in range(0, len(numbers), under_way):
                some = numbers[begin : begin + under_way]
                for number in some:
                    connection.send(OFFSET_COMMIT, 2, text(b"%s%x" % (prefix, number)) + rest)
                for _ in some:
                    answer = connection.receive()
                    answer.number("i"), answer.text(), answer.number("i"), answer.number("i")
                    assert 0 == answer.number("h")

    with ThreadPoolExecutor(connections) as threads:
        for _ in threads.map(commit, [range(first, count, connections) for first in range(connections)]):
            pass
