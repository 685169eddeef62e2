"""The bytes of one answer to a scrape."""

from __future__ import annotations

import attrs


@attrs.frozen(eq=False)
class Body:
    """What one scrape gets, made once and shared by every scrape until the next one is made."""

    chunks: tuple[bytes, ...] = attrs.field(repr=False)
    """The plain bytes in order, never joined: together they are 5 MB to 30 MB on a large cluster."""
    gzipped: bytes = attrs.field(repr=False)
    """The same as one gzip stream."""
    length: int
    """Of the plain bytes."""
