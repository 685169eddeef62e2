"""One replica of klag-trio, as a process to which anything may happen."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.program.program import COMMAND

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = 30.0


class Replica:
    """A replica that keeps its address over restarts."""

    def __init__(
        self, folder: Path, name: str, config: str, environ: Mapping[str, str], address: str | None = None
    ) -> None:
        self.name = name
        self.folder = folder
        self.address = address or f"127.0.0.1:{free_port()}"
        self._environ = {**os.environ, "POD_NAME": name, **environ}
        host, _, port = self.address.partition(":")
        (folder / "config.toml").write_text(config.replace("HOST", host).replace("PORT", port))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.process is None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "-c", str(self.folder / "config.toml"), "--log-format", "json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
            )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended and return its exit code."""
        assert self.process is not None
        code = self.process.wait(SECONDS)
        self.process = None
        return code

    def end(self) -> None:
        """End it whatever it does, and look whether it crashed before."""
        if self.process is not None:
            code = self.process.poll()
            self.process.kill()
            self.process.wait()
            self.process = None
            assert code in (None, 0), self.text()
        assert "Traceback" not in self.text(), self.text()

    def get(self, path: str) -> tuple[int, str] | None:
        """Status and body of one page; None where nobody answers."""
        host, _, port = self.address.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=2.0)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def leads(self) -> bool | None:
        """What /leader says; None where nobody answers."""
        answer = self.get("/leader")
        return None if answer is None else bool(json.loads(answer[1])["is_leader"])

    def text(self) -> str:
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else ""

    def log(self, event: str) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [entry for entry in entries if entry["event"] == event]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port
