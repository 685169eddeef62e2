"""What one klag-trio holds, cycle by cycle."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, median_low
from typing import TYPE_CHECKING, NamedTuple

import attrs
from benchmarks.family import family, status_bytes

if TYPE_CHECKING:
    from tests.program.program import Program

MEBIBYTE = 1024 * 1024


class Sample(NamedTuple):
    """What /proc says of the process soon after a cycle."""

    cycle: int
    resident_mib: float
    threads: int
    descriptors: int


class Held(NamedTuple):
    """What a process holds of the system besides memory."""

    threads: int
    descriptors: int


@attrs.define
class Measured:
    """One klag-trio and its samples; `recycle` is its client_recycle_interval."""

    recycle: int
    program: Program = attrs.field(repr=False)
    cycles: int = 0
    failed: int = 0
    samples: list[Sample] = attrs.field(factory=list)
    _lines_read: int = 0

    def look(self) -> None:
        """Take a sample where a cycle has ended since the last look."""
        lines = self.program.lines_from(self._lines_read)
        self._lines_read += len(lines)
        before = self.cycles
        for line in lines:
            if '"event": "cycle"' in line:
                self.cycles += 1
                self.failed += not json.loads(line)["good"]
        if self.cycles > before:
            self.samples.append(sample_of(self.program.process.pid, self.cycles))

    def mean(self, end: int, length: int) -> float:
        """The mean memory of the `length` cycles up to this one, in MiB."""
        return fmean(sample.resident_mib for sample in self._window(end, length))

    def usual(self, length: int) -> Held:
        """What it usually held in the last `length` cycles: their medians.

        While clients are made anew, the old ones and the new ones are there for a moment, or hardly any.
        """
        window = self._window(self.cycles, length)
        return Held(
            median_low(sample.threads for sample in window),
            median_low(sample.descriptors for sample in window),
        )

    def _window(self, end: int, length: int) -> list[Sample]:
        return [sample for sample in self.samples if end - length < sample.cycle <= end]


def sample_of(pid: int, cycle: int) -> Sample:
    """What a process and those that it has started hold now."""
    folders = [Path(f"/proc/{member}") for member in family(pid)]
    return Sample(
        cycle,
        round(status_bytes(pid, "VmRSS") / MEBIBYTE, 2),
        sum(len(list((folder / "task").iterdir())) for folder in folders),
        sum(len(list((folder / "fd").iterdir())) for folder in folders),
    )
