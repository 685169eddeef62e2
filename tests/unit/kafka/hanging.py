"""A file that keeps whoever reads it waiting, as one on a file server that hangs does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from klag_trio.kafka.coordinators import Coordinators


class HangingFile:
    """It hangs until `finish`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._writing: int | None = None

    async def until_read(self) -> None:
        """Wait until somebody waits for what is in it."""
        with trio.fail_after(60):
            while self._writing is None:
                try:
                    self._writing = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
                except OSError:  # nobody reads
                    await trio.sleep(0.01)

    def finish(self, content: bytes) -> None:
        """Let who reads it have this."""
        assert self._writing is not None
        os.write(self._writing, content)
        os.close(self._writing)
        self._writing = None


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[Coordinators]:
    """The handles that have ended: what is made too late is not there yet when its file has been read."""
    ends: list[Coordinators] = []
    destroy = Coordinators.destroy

    def noting(coordinators: Coordinators) -> None:
        destroy(coordinators)
        ends.append(coordinators)

    monkeypatch.setattr(Coordinators, "destroy", noting)
    return ends
