"""Runs klag-trio behind the proxy for some minutes, starts it again where it ended, and notes what it did."""

from __future__ import annotations

import http.client
import re
import signal
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import attrs
from tests.broker.waiting import wait_until
from tests.flips.changes import Changes, Kind
from tests.flips.estate import CALM, HOSTILE
from tests.flips.known import why
from tests.flips.process import Debugged, debugged, died_in_a_library, frames, signature
from tests.program.program import LAST_UPDATE, Page

if TYPE_CHECKING:
    from collections.abc import Mapping

HEALTH_SECONDS = 10.0
CYCLE_SECONDS = {CALM: 20.0, HOSTILE: 60.0}
"""How long a cluster may be without a good cycle; the hostile one where only what is stored changes."""
MOST_MIB = 200.0
_MOST_FRAMES = 12
_LOOK_SECONDS, _GDB_SECONDS, _DUMP_SECONDS = 0.25, 15.0, 60.0


class _Wrong(Exception):
    """It does what it may not do; the argument says what."""


@attrs.define
class Campaign:
    """What was seen so far."""

    changes: Changes
    starts: int = 0
    cycles: Counter[str] = attrs.field(factory=Counter)
    """Good ones that were seen, by cluster."""
    gaps: dict[str, float] = attrs.field(factory=lambda: dict.fromkeys(CYCLE_SECONDS, 0.0))
    """The most seconds between two of them."""
    errors: Counter[str] = attrs.field(factory=Counter)
    """Of the hostile cluster, by stage and code."""
    slowest_health: float = 0.0
    most_mib: float = 0.0
    findings: Counter[str] = attrs.field(factory=Counter)
    """The signatures of what may not happen."""
    excused: Counter[str] = attrs.field(factory=Counter)
    """Those of ends in a library by the answer of a broker that lies."""
    _backtraces: dict[str, str] = attrs.field(factory=dict)
    _updated: dict[str, tuple[float | None, float]] = attrs.field(factory=dict)
    """The time of the last good cycle as it is shown, and when it was first seen, by cluster."""

    def run(self, seconds: float, config: str, temporary: Path, kept: Path) -> None:
        """Watch for so many seconds; all about each klag-trio that is started is kept in a file."""
        until = monotonic() + seconds
        while monotonic() < until:
            self.starts += 1
            self.changes.active = False
            with debugged(temporary, config) as program:
                found = self._watch(program, until)
            parts = [found or "Nothing was wrong.", *self.changes.recent, program.said_by_gdb, program.output]
            (kept / f"{self.changes.kind}-{self.starts}.txt").write_text("\n\n".join(parts))
            if found is not None:
                self._counted(program)[found] += 1
                trace = [f"{name} ({Path(file).name})" for name, file in frames(program.said_by_gdb)]
                self._backtraces[found] = "\n".join(trace[:_MOST_FRAMES])

    def _counted(self, program: Debugged) -> Counter[str]:
        """Where the end of this one counts; one that was stopped is no end of its own."""
        lied = self.changes.kind is Kind.LYING and not program.stopped
        in_a_library = died_in_a_library(program.said_by_gdb, program.output)
        return self.excused if lied and in_a_library else self.findings

    def _watch(self, program: Debugged, until: float) -> str | None:
        """One klag-trio, until it ends or does what it may not: the signature of that."""
        self._updated = dict.fromkeys(CYCLE_SECONDS, (None, monotonic()))
        wrong = None
        page = Page("")
        try:
            while monotonic() < until and not program.ended(_LOOK_SECONDS):
                page = self._look(program)
        except _Wrong as exc:
            wrong = str(exc)
        for labels, count in page.rows("klag_errors_total", cluster_name=HOSTILE).items():
            self.errors[" ".join(value for _, value in sorted(labels, reverse=True))] += int(count)
        # One that dies does not answer either, and gdb takes some time to say where it was.
        if program.ended(_GDB_SECONDS if wrong else 0):
            return signature(program.said_by_gdb, program.output)
        if wrong:
            program.stopped = True
            program.send(signal.SIGABRT)
            program.ended(_DUMP_SECONDS)
        return wrong

    def _look(self, program: Debugged) -> Page:
        asked = monotonic()
        try:
            status, _ = program.get("/health")
            took = monotonic() - asked
            page, resident = program.metrics(), program.resident_mib()
        except (OSError, http.client.HTTPException, AssertionError) as exc:
            raise _Wrong(f"it does not answer: {type(exc).__name__}") from exc
        self.slowest_health = max(self.slowest_health, took)
        self.most_mib = max(self.most_mib, resident)
        if status != 200 or took > HEALTH_SECONDS:
            raise _Wrong(f"/health answers {status}, or too late")
        if resident > MOST_MIB:
            raise _Wrong(f"more than {MOST_MIB:.0f} MiB resident")
        if page.rows("klag_errors_total", code="bug"):
            logged = wait_until(lambda: program.log("a bug ended the cycle"), "the bug is in the log")
            raise _Wrong(f"bug: {last_line(logged[-1]['exception'])}")
        for cluster, (before, seen_at) in self._updated.items():
            shown, now = page.value(LAST_UPDATE, cluster_name=cluster), monotonic()
            # A broker that lies may keep its own cluster from being read.
            excused = cluster == HOSTILE and self.changes.kind is Kind.LYING
            if shown not in (before, None):
                self._updated[cluster] = shown, now
                self.cycles[cluster] += 1
                self.gaps[cluster] = max(self.gaps[cluster], now - seen_at)
            elif now - seen_at > CYCLE_SECONDS[cluster] and not excused:
                raise _Wrong(f"no good cycle of {cluster}")
        self.changes.active = all(shown is not None for shown, _ in self._updated.values())
        return page

    def report(self) -> str:
        cycles = ", ".join(f"{count} of {cluster}" for cluster, count in self.cycles.items())
        gaps = ", ".join(f"{gap:.1f} s of {cluster}" for cluster, gap in self.gaps.items())
        parts = [
            f"## {self.changes.kind}",
            f"Started {self.starts} times. Good cycles: {cycles}; the longest time without one: {gaps}. "
            f"Slowest /health: {self.slowest_health:.2f} s. Resident at most: {self.most_mib:.0f} MiB.",
            f"Answers: {_listed(self.changes.answers)}.",
            f"Changed: {_listed(self.changes.changed)}.",
            f"Errors of {HOSTILE}: {_listed(self.errors) or 'none'}.",
        ]
        for found, count in self.findings.most_common():
            parts.append(f"### {count} x `{found}`, which may not be\n\n```\n{self._backtraces[found]}\n```")
        for found, count in self.excused.most_common():
            answer = why(found) or "By an answer that its innermost functions do not tell"
            parts.append(f"### {count} x `{found}`\n\n{answer}.\n\n```\n{self._backtraces[found]}\n```")
        return "\n\n".join([*parts, ""])


def last_line(traceback: str) -> str:
    """Which exception it is and what it says, without the numbers in it and the frame of a group."""
    lines = [line.strip(" |+-") for line in traceback.splitlines()]
    return re.sub(r"\d+", "...", [line for line in lines if line][-1])


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
