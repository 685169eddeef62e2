"""How long a label value from Kafka may be.

Kafka takes group and client ids of up to 32 KB, and every series of a group repeats its id: 500 groups with
such ids made metrics of 558 MB.
"""

from __future__ import annotations

import hashlib

MOST_BYTES = 512
"""In UTF-8, before a text format escapes anything."""

_DIGITS = 16
# In UTF-8 a character has at most four bytes.
_SURELY_SHORT = MOST_BYTES // 4


def label_value(whole: str) -> str:
    """The value itself up to `MOST_BYTES`; else its beginning, `~` and 16 hex digits of its SHA-256.

    What is cut has at most `MOST_BYTES`, digits included, and ends at a whole character. The digits tell
    values apart that begin alike. Half of a surrogate pair counts as the ? that is served in its place.
    """
    encoded = whole.encode(errors="replace")
    if len(encoded) <= MOST_BYTES:
        return whole
    suffix = "~" + hashlib.sha256(encoded).hexdigest()[:_DIGITS]
    # Ignored is only a last character of which some bytes are missing.
    return encoded[: MOST_BYTES - len(suffix)].decode(errors="ignore") + suffix


class LabelValues:
    """The label values of one report; a long one is cut once, however many series carry it."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def fit(self, whole: str) -> str:
        """As `label_value`, but remembered."""
        # Called for every label of every row, so ordinary values must not be encoded.
        if len(whole) <= _SURELY_SHORT or (len(whole) <= MOST_BYTES and whole.isascii()):
            return whole
        if (known := self._known.get(whole)) is None:
            known = self._known[whole] = label_value(whole)
        return known

    @property
    def cut(self) -> int:
        """How many different values were cut."""
        return sum(value != whole for whole, value in self._known.items())
