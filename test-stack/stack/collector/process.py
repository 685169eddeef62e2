"""One running collector."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from stack import TEST_STACK

from .build import binary

CONFIG = TEST_STACK / "collector" / "collector.yaml"
"""What docs/opentelemetry.md tells people to use."""
_START_SECONDS = 30.0
# A page of 200,000 samples takes seconds, and a while where the machine is busy.
_PAGE_SECONDS = 120.0


class OtelCollector:
    """A collector that runs inside the with block, on ports that stay the same over a restart.

    `overlays` are further configuration files, merged over CONFIG by the collector itself.
    """

    def __init__(self, folder: Path, *overlays: Path) -> None:
        self._folder = folder
        self._configs = [CONFIG, *overlays]
        self._program = binary()
        self.port, self.http_port, self.prometheus_port = _free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.thaw()
            self.kill()

    def endpoint(self, protocol: str, scheme: str = "http") -> str:
        """Where it takes "grpc" or "http/protobuf"."""
        return f"{scheme}://127.0.0.1:{self.port if protocol == 'grpc' else self.http_port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert self._process is None
        command = [str(self._program), *(f"--config=file:{path}" for path in self._configs)]
        # Its own telemetry would listen on a fixed port.
        command.append("--set=service.telemetry.metrics.level=none")
        with (self._folder / "otelcol.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "OTLP_LISTEN": f"127.0.0.1:{self.port}",
                    "OTLP_HTTP_LISTEN": f"127.0.0.1:{self.http_port}",
                    "PROMETHEUS_LISTEN": f"127.0.0.1:{self.prometheus_port}",
                },
            )
        deadline = time.monotonic() + _START_SECONDS
        while not all(map(_listens, (self.port, self.http_port, self.prometheus_port))):
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Let it answer nothing, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def metrics(self) -> str:
        """What it offers to Prometheus."""
        connection = http.client.HTTPConnection("127.0.0.1", self.prometheus_port, timeout=_PAGE_SECONDS)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def log(self) -> str:
        """All that it wrote."""
        return (self._folder / "otelcol.log").read_text()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports
