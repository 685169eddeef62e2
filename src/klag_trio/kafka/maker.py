"""Things that take a thread to be made, and may take longer than anybody waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import attrs
import trio

from klag_trio.shortage import ShortageError, shortage

T = TypeVar("T")


@attrs.define(eq=False)
class _Attempt(Generic[T]):
    """One thing that is being made."""

    done: trio.Event = attrs.field(factory=trio.Event)
    waiting: int = 0
    """How many tasks wait for it."""
    made: list[T | Exception] = attrs.field(factory=list)
    """One thing or error, when it is done: a list can be emptied by whoever is to have the last reference."""


class Maker(Generic[T]):
    """Makes one thing at a time, in a thread that is not waited for when nobody wants the thing any more.

    All who want it meanwhile get the same, so that an attempt that hangs costs one thread however often it is
    asked for. What comes when nobody waits is ended, in a thread as well.
    """

    def __init__(self, make: Callable[[], T], end: Callable[[T], None]) -> None:
        """Take what makes and what ends the thing, both of which run in threads."""
        self._make = make
        self._end = end
        self._attempt: _Attempt[T] | None = None

    async def made(self) -> T:
        """Wait for the thing.

        Raises:
            ShortageError: no thread can be started.
            Exception: whatever making it raises.

        """
        if self._attempt is None:
            self._attempt = self._begin()
        attempt = self._attempt
        attempt.waiting += 1
        try:
            # Whoever waits when the event is set takes the thing: it is too late to cancel that.
            await attempt.done.wait()
        finally:
            attempt.waiting -= 1
        made = attempt.made[0]
        if isinstance(made, Exception):
            try:
                raise made
            finally:
                # The error keeps this frame, which would keep the error and the client until a collection.
                del made, attempt
        return made

    def _begin(self) -> _Attempt[T]:
        attempt: _Attempt[T] = _Attempt()
        token = trio.lowlevel.current_trio_token()

        def tell(_: object) -> None:
            try:
                token.run_sync_soon(self._arrived, attempt)
            except trio.RunFinishedError:
                self._end_leftover(attempt)

        _start_thread(partial(self._run, attempt), tell)
        return attempt

    def _run(self, attempt: _Attempt[T]) -> None:
        try:
            attempt.made.append(self._make())
        except Exception as exc:
            attempt.made.append(exc)

    def _arrived(self, attempt: _Attempt[T]) -> None:
        self._attempt = None
        if attempt.waiting:
            attempt.done.set()
            return
        end = partial(self._end_leftover, attempt)
        try:
            _start_thread(end, _nothing)
        except ShortageError:
            end()

    def _end_leftover(self, attempt: _Attempt[T]) -> None:
        left = attempt.made.pop()
        if not isinstance(left, Exception):
            self._end(left)


def _start_thread(work: Callable[[], None], tell: Callable[[object], None]) -> None:
    try:
        trio.lowlevel.start_thread_soon(work, tell)
    except RuntimeError as exc:
        raise ShortageError(shortage(exc) or str(exc)) from None


def _nothing(_: object) -> None:
    """Nobody waits."""
