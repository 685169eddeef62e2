"""What a member of a classic group owns, from the bytes that the leader of its group wrote.

The format is `ConsumerProtocolAssignment.json` of Apache Kafka, versions 0 to 3: a version, topics with
their partitions, and data of the assignor's own. Brokers store the bytes as they come: they can be anything.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping

from klag_trio.kafka.text import text

_SHORT = struct.Struct(">h")
_LONG = struct.Struct(">i")
_INT32 = "i"


class MalformedAssignment(ValueError):
    """The bytes are no assignment of the consumer protocol."""


def parse(data: bytes) -> Mapping[str, array[int]]:
    """The partition numbers of each topic as they were written, whether or not such partitions exist.

    The numbers take as many bytes as in `data`. What follows the partitions is not looked at: later versions
    may append to it.

    Raises:
        MalformedAssignment: the bytes end too early, or a count or length is negative.

    """
    if not data:
        return {}  # of a member that waits for the leader of its group
    cursor = _Cursor(data)
    if cursor.short() < 0:
        raise MalformedAssignment("the version is negative")
    owned: dict[str, array[int]] = {}
    for _ in range(cursor.count()):
        topic = text(cursor.take(cursor.short()))
        owned.setdefault(topic, array(_INT32)).extend(cursor.numbers(cursor.count()))
    return owned


class _Cursor:
    """Where in the bytes the next field begins."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        if size < 0:
            raise MalformedAssignment("a length is negative")
        end = self._at + size
        if end > len(self._data):
            raise MalformedAssignment(f"the {len(self._data)} bytes end within a field")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def short(self) -> int:
        number: int = _SHORT.unpack(self.take(_SHORT.size))[0]
        return number

    def count(self) -> int:
        number: int = _LONG.unpack(self.take(_LONG.size))[0]
        if number < 0:
            raise MalformedAssignment("a count is negative")
        return number

    def numbers(self, count: int) -> array[int]:
        taken = array(_INT32, self.take(count * _LONG.size))
        if sys.byteorder == "little":
            taken.byteswap()
        return taken
