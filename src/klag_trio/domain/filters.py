"""Which groups and topics are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from klag_trio.domain.patterns import NamePattern


@attrs.frozen
class NameFilter:
    """A name passes when it matches one of the whitelist and none of the blacklist.

    A pattern matches anywhere in the name unless it is anchored, as klag-exporter's do: the pattern
    `payments` selects `eu-payments-1`, and `^payments$` only `payments`.
    """

    whitelist: Sequence[NamePattern]
    blacklist: Sequence[NamePattern]

    def __call__(self, name: str) -> bool:
        """Whether the name passes."""
        # Once for all patterns: RE2 matches UTF-8, and would encode for each.
        utf8 = name.encode()
        return any(p.search(utf8) for p in self.whitelist) and not any(p.search(utf8) for p in self.blacklist)

    def select(self, names: Iterable[str]) -> list[str]:
        """The names that pass, in their order, each once."""
        return [name for name in dict.fromkeys(names) if self(name)]
