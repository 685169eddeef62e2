"""Which groups and topics are looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs


@attrs.frozen
class NameFilter:
    """A name passes when it matches one of the whitelist and none of the blacklist.

    A pattern matches anywhere in the name unless it is anchored, as klag-exporter's do: the pattern
    `payments` selects `eu-payments-1`, and `^payments$` only `payments`.
    """

    whitelist: Sequence[re.Pattern[str]]
    blacklist: Sequence[re.Pattern[str]]

    def __call__(self, name: str) -> bool:
        """Whether the name passes."""
        return any(p.search(name) for p in self.whitelist) and not any(p.search(name) for p in self.blacklist)

    def select(self, names: Iterable[str]) -> list[str]:
        """The names that pass, in their order, each once."""
        return [name for name in dict.fromkeys(names) if self(name)]
