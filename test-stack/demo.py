"""`make demo`: a real Kafka, groups that lag in every way, and klag-trio's view of them, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from kafka import CURRENT, KafkaCluster, StackError
from kafka.guarded import GuardedProcess
from load import GROUPS, Load
from table import render, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

KLAG_TRIO = Path(sys.executable).with_name("klag-trio")
CONFIG = """\
[exporter]
poll_interval = "2s"
http_host = "127.0.0.1"
http_port = {port}
granularity = "partition"

[[clusters]]
name = "demo"
bootstrap_servers = "{bootstrap_servers}"
"""
REFRESH_SECONDS = 2.0
START_SECONDS = 30.0
STOP_SECONDS = 10.0
LOG_LINES_SHOWN = 20
CLEAR = "\x1b[2J\x1b[H"


class DemoError(Exception):
    """Something the demo needs has ended; the message shows what it last said."""


class KlagTrio:
    """The exporter as its users run it: a process, a configuration file, an address."""

    def __init__(self, process: GuardedProcess, log: Path, address: str) -> None:
        self.address = address
        self._process = process
        self._log = log

    def metrics(self) -> str | None:
        """Return what is served, None as long as the port is closed; DemoError once the process has ended."""
        if not self._process.running:
            last = "\n".join(self._log.read_text().splitlines()[-LOG_LINES_SHOWN:])
            raise DemoError(f"klag-trio ended with exit code {self._process.exit_code}:\n{last}")
        try:
            with urllib.request.urlopen(f"{self.address}/metrics", timeout=5) as answer:  # noqa: S310
                text: str = answer.read().decode()
                return text
        except urllib.error.URLError:
            return None


@contextlib.contextmanager
def klag_trio(bootstrap_servers: str) -> Iterator[KlagTrio]:
    """Run klag-trio beside its configuration and its log in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="klag-demo-") as name:
        folder = Path(name)
        config = folder / "config.toml"
        port = free_port()
        config.write_text(CONFIG.format(port=port, bootstrap_servers=bootstrap_servers))
        log = folder / "klag-trio.log"
        with log.open("w") as output:
            process = GuardedProcess([str(KLAG_TRIO), "-c", str(config)], folder=folder, output=output)
        try:
            yield KlagTrio(process, log, f"http://127.0.0.1:{port}")
        finally:
            process.send(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def watch(exporter: KlagTrio, load: Load, until: float) -> None:
    """Print the table again and again."""
    wait_for_all_groups(exporter)
    while True:
        if load.failure is not None:
            raise DemoError(f"the load generator failed: {load.failure!r}")
        table = render(rows(exporter.metrics() or ""), GROUPS)
        begin = CLEAR if sys.stdout.isatty() else ""
        print(
            f"{begin}klag-trio serves {exporter.address}/metrics    Ctrl-C stops everything\n\n{table}\n",
            flush=True,
        )
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(REFRESH_SECONDS, left))


def wait_for_all_groups(exporter: KlagTrio) -> None:
    """Wait until the first good cycle is served."""
    deadline = time.monotonic() + START_SECONDS
    while not set(GROUPS) <= {row.group for row in rows(exporter.metrics() or "")}:
        if time.monotonic() > deadline:
            raise DemoError(f"klag-trio did not serve all groups within {START_SECONDS:.0f} s")
        time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end by itself after this time")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"Starting Apache Kafka {CURRENT}; the first time Maven fetches it.", flush=True)
    try:
        with KafkaCluster() as cluster:
            print("Starting producers and consumer groups.", flush=True)
            with Load(cluster.bootstrap_servers) as load, klag_trio(cluster.bootstrap_servers) as exporter:
                watch(exporter, load, time.monotonic() + arguments.seconds)
    except (StackError, DemoError) as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
