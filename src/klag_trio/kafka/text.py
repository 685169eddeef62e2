"""The one place where bytes that come from Kafka become text."""

from __future__ import annotations


def text(name: bytes | None) -> str:
    """A name or message as librdkafka has it, which ends at a NUL; bytes that are no UTF-8 become U+FFFD.

    Whoever may join a group, commit an offset or write a record chooses some of these bytes.
    """
    return "" if name is None else name.decode(errors="replace")
