"""Where the replicas of partitions shall be, told to a broker as Kafka's own tool does.

librdkafka has no call for it: this is Kafka's AlterPartitionReassignments, version 0 (KIP-455), byte by byte.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_API_KEY, _API_VERSION, _CORRELATION = 45, 0, 1
_TIMEOUT_MS = 30_000
_NO_TAGS = b"\0"


def reassign(port: int, topic: str, replicas: Mapping[int, Sequence[int]]) -> None:
    """Let each partition be on these brokers, of which the first is to lead, once it is elected.

    Raises:
        AssertionError: the broker refuses.

    """
    partitions = [
        struct.pack(">i", partition) + _array([struct.pack(">i", broker) for broker in brokers]) + _NO_TAGS
        for partition, brokers in replicas.items()
    ]
    topics = _array([_string(topic) + _array(partitions) + _NO_TAGS])
    header = struct.pack(">hhih", _API_KEY, _API_VERSION, _CORRELATION, -1) + _NO_TAGS
    request = header + struct.pack(">i", _TIMEOUT_MS) + topics + _NO_TAGS
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_MS / 1000) as broker:
        broker.sendall(struct.pack(">i", len(request)) + request)
        with broker.makefile("rb") as answers:
            (length,) = struct.unpack(">i", answers.read(4))
            answer = answers.read(length)
    correlation, _, _, error = struct.unpack(">iBih", answer[:11])
    assert (correlation, error) == (_CORRELATION, 0), answer


def _array(items: Sequence[bytes]) -> bytes:
    return _length(len(items)) + b"".join(items)


def _string(text: str) -> bytes:
    return _length(len(text.encode())) + text.encode()


def _length(length: int) -> bytes:
    """A compact length: one more than it is, so that 0 is left for null, seven bits a byte."""
    rest, encoded = length + 1, bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*encoded, rest])
