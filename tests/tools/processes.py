"""Which processes there are."""

from __future__ import annotations

from pathlib import Path


def processes_below(folder: Path) -> list[int]:
    """Processes whose command line names this folder."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if str(folder) in command_of(pid)]


def command_of(pid: int) -> str:
    """What this process was started as; nothing once it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
