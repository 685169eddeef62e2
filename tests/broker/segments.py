"""What a broker keeps on disk, damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LENGTH_AT = 8
_LENGTH_END = 12
_RECORDS_AT = 61


def corrupt_batch(segment: Path, number: int) -> None:
    """Flip bytes in the records of one batch of a log segment of a stopped broker (message format 2)."""
    data = bytearray(segment.read_bytes())
    start = 0
    for _ in range(number):
        start = _end(data, start)
    for i in range(start + _RECORDS_AT, _end(data, start)):
        data[i] ^= 0xFF
    segment.write_bytes(data)


def _end(data: bytearray, start: int) -> int:
    length = int.from_bytes(data[start + _LENGTH_AT : start + _LENGTH_END], "big")
    return start + _LENGTH_END + length
