"""Every expected error of one cluster: counted each time, logged when it begins and when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import attrs
import structlog

from klag_trio.domain.mends import mend
from klag_trio.domain.offsets import Fault

_NAMED = 10
"""Subjects of one kind of error that are logged one by one in one cycle; the rest are only counted."""


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

    def lasts(self, stage: str, subject: str, fault: Fault) -> None:
        """Say that an error of an earlier cycle is taken to last, without having been met again."""
        self._current.setdefault(_Trouble(stage, subject, fault.code), fault)

    def end_cycle(self) -> None:
        """Log what began and what ended with the cycle that ran."""
        begun = [trouble for trouble in self._current if trouble not in self._lasting]
        ended = [trouble for trouble in self._lasting if trouble not in self._current]
        for trouble in _named(begun, partial(self._log.warning, "more of these began")):
            fault = self._current[trouble]
            extra = {"mend": hint} if (hint := mend(trouble.stage, trouble.code)) else {}
            self._log.warning(
                f"cannot read {trouble.stage}",
                subject=trouble.subject,
                code=trouble.code,
                error=fault.message,
                **extra,
            )
        for trouble in _named(ended, partial(self._log.info, "more of these ended")):
            self._log.info(f"can read {trouble.stage} again", subject=trouble.subject, code=trouble.code)
        self._lasting, self._current = self._current, {}


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
