"""Answers that need not be asked for in every cycle."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs
import trio

V = TypeVar("V")


@attrs.define
class Cached(Generic[V]):
    """A value that is trusted for `ttl` seconds; 0 trusts nothing."""

    ttl: float
    _value: V | None = None
    _until: float = 0.0

    def get(self) -> V | None:
        """The value, or None where it must be asked for."""
        return self._value if trio.current_time() < self._until else None

    @property
    def last(self) -> V | None:
        """The value, however old; None before the first."""
        return self._value

    def put(self, value: V) -> V:
        """Keep a value that just arrived, and hand it back."""
        self._value, self._until = value, trio.current_time() + self.ttl
        return value

    def drop(self) -> None:
        """Trust it no longer."""
        self._until = 0.0
