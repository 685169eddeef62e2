"""A process with those that it has started: klag-trio reads records in processes of its own."""

from __future__ import annotations

import contextlib
from pathlib import Path

_KIBIBYTE = 1024


def family(pid: int) -> list[int]:
    """The process, its children, theirs, and so on; those that end meanwhile may be missing."""
    found = [pid]
    for member in found:
        for task in _listed(Path(f"/proc/{member}/task")):
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def status_bytes(pid: int, key: str) -> int:
    """A figure of /proc/PID/status, such as VmRSS, summed up over the family."""
    return sum(_status_bytes(member, key) for member in family(pid))


def cpu_ticks(pid: int) -> int:
    """User and system time of the family, and of the children that have ended, in clock ticks."""
    ticks = 0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            # utime, stime, cutime and cstime
            ticks += sum(map(int, fields[11:15]))
    return ticks


def socket_inodes(pid: int) -> set[int]:
    """The sockets of the family."""
    return set[int]().union(*(own_socket_inodes(member) for member in family(pid)))


def own_socket_inodes(pid: int) -> set[int]:
    """The sockets of this process alone."""
    inodes = set()
    for entry in _listed(Path(f"/proc/{pid}/fd")):
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _status_bytes(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * _KIBIBYTE for line in lines if line.startswith(f"{key}:"))
