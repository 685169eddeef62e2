"""What is behind a call that timed out: librdkafka tells it apart from the call, and rarely again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic

from confluent_kafka import KafkaError

from klag_trio.domain.offsets import Fault, GroupListing

# How a call ends that something else is behind. What a broker answered speaks for itself.
_SYMPTOMS = frozenset({"_ALL_BROKERS_DOWN", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_TRANSPORT", "_WAIT_COORD"})
# What librdkafka reports besides the error that was the cause of it.
_CONSEQUENCES = frozenset({"_ALL_BROKERS_DOWN", "_DESTROY"})
# Of several causes the first of these says most: while it lasts, none of the others can be seen.
_MOST_TELLING = ("_AUTHENTICATION", "_SSL", "_RESOLVE")
# librdkafka tells an error that lasts again after half a minute.
_SECONDS = 40.0
_KEPT = 16


class Causes:
    """The last errors that one librdkafka client told of itself."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told: deque[tuple[float, KafkaError]] = deque(maxlen=_KEPT)
        self.reached = False
        """Whether a broker has ever answered."""

    def note(self, error: KafkaError) -> None:
        """Take in what librdkafka tells; it may do so from any thread."""
        self._told.append((self._clock(), error))

    def answered(self, found: object, since: float) -> None:
        """Take in what a call brought: what was told before an answer does not explain what fails later."""
        if _is_an_answer(found):
            self.reached = True
            while self._told and self._told[0][0] < since:
                self._told.popleft()

    def behind(self, fault: Fault) -> KafkaError | None:
        """The newest of the most telling causes; None where the fault says best itself what is wrong."""
        if fault.code not in _SYMPTOMS:
            return None
        oldest = self._clock() - _SECONDS
        newest_first = [error for at, error in reversed(list(self._told)) if at >= oldest]
        causes = [error for error in newest_first if error.name() not in _CONSEQUENCES]
        return min(causes, key=_obscurity, default=None)


def _obscurity(error: KafkaError) -> int:
    name = error.name()
    return _MOST_TELLING.index(name) if name in _MOST_TELLING else len(_MOST_TELLING)


def _is_an_answer(found: object) -> bool:
    """Whether a broker has said something: a listing without faults, or anything that is no fault."""
    if isinstance(found, GroupListing):
        return not found.faults
    return not isinstance(found, Mapping) or any(not isinstance(part, Fault) for part in found.values())
