"""Every expected error of one cluster: counted each time, logged when it begins and when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import attrs
import structlog

from klag_trio.domain.mends import mend
from klag_trio.domain.offsets import Fault, TopicPartition

K = TypeVar("K")
V = TypeVar("V")

_NAMED = 10
"""Subjects of one kind of error that are logged one by one in one cycle; the rest are only counted."""


_NOT_READING = {"cycle": "end a cycle in time", "recycle": "make the client anew"}
"""What is done in the stages in which nothing is read."""


@attrs.frozen
class _Trouble:
    stage: str
    subject: str
    code: str


class FaultLog:
    """The errors of one cluster, cycle by cycle.

    A subject is the group, topic or partition that an error is about; "" for the cluster itself.
    """

    def __init__(self, cluster: str) -> None:
        self._log = structlog.get_logger(__name__).bind(cluster=cluster)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lasting: dict[_Trouble, Fault] = {}
        self._current: dict[_Trouble, Fault] = {}

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How often each (stage, code) occurred since the start."""
        return self._counts

    @property
    def lasting(self) -> list[tuple[str, str, Fault]]:
        """The (stage, subject, fault) of the last finished cycle."""
        return [(trouble.stage, trouble.subject, fault) for trouble, fault in self._lasting.items()]

    def record(self, stage: str, subject: str, fault: Fault) -> None:
        """Count an error of the cycle that runs."""
        self._counts[stage, fault.code] += 1
        self._current[_Trouble(stage, subject, fault.code)] = fault

    def sift(self, stage: str, answers: Mapping[K, V | Fault]) -> dict[K, V]:
        """Count the errors among answers by topic, group or partition, and give the others."""
        good: dict[K, V] = {}
        for key, answer in answers.items():
            if isinstance(answer, Fault):
                subject = f"{key.topic}/{key.partition}" if isinstance(key, TopicPartition) else str(key)
                self.record(stage, subject, answer)
            else:
                good[key] = answer
        return good

    def lasts(self, stage: str, subject: str, fault: Fault) -> None:
        """Say that an error of an earlier cycle is taken to last, without having been met again."""
        self._current.setdefault(_Trouble(stage, subject, fault.code), fault)

    def end_term(self) -> None:
        """Forget what lasts: whether it still does only the next leader can tell."""
        self._lasting, self._current = {}, {}

    def end_cycle(self, *, good: bool = True) -> None:
        """Log what began and what ended with the cycle that ran.

        One that was not good ends nothing: it has not asked everything.
        """
        if not good:
            for trouble, fault in self._lasting.items():
                self._current.setdefault(trouble, fault)
        begun = [trouble for trouble in self._current if trouble not in self._lasting]
        ended = [trouble for trouble in self._lasting if trouble not in self._current]
        for trouble in _named(begun, partial(self._log.warning, "more of these began")):
            fault = self._current[trouble]
            extra = {"mend": hint} if (hint := mend(trouble.stage, trouble.code)) else {}
            self._log.warning(
                f"cannot {_doing(trouble)}",
                subject=trouble.subject,
                code=trouble.code,
                error=fault.message,
                **extra,
            )
        for trouble in _named(ended, partial(self._log.info, "more of these ended")):
            self._log.info(f"can {_doing(trouble)} again", subject=trouble.subject, code=trouble.code)
        self._lasting, self._current = self._current, {}


def _doing(trouble: _Trouble) -> str:
    return _NOT_READING.get(trouble.stage, f"read {trouble.stage}")


def _named(troubles: list[_Trouble], say_of_rest: Callable[..., object]) -> list[_Trouble]:
    """The troubles that are logged one by one; what is more of a kind is said in a line."""
    kinds: Counter[tuple[str, str]] = Counter()
    named = []
    for trouble in troubles:
        kinds[trouble.stage, trouble.code] += 1
        if kinds[trouble.stage, trouble.code] <= _NAMED:
            named.append(trouble)
    for (stage, code), count in kinds.items():
        if count > _NAMED:
            say_of_rest(stage=stage, code=code, count=count - _NAMED)
    return named
