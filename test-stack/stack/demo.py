"""`make demo`: a real Kafka, groups that lag in every way, and klag-trio's view of them, until Ctrl-C.

Beside it runs a real Prometheus, with the rules of test-stack/prometheus, where one is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from rich.console import Console

from stack.kafka import CURRENT, KafkaCluster, StackError
from stack.kafka.guarded import GuardedProcess
from stack.live import Steps, View
from stack.load import GROUPS, Load
from stack.prometheus import PrometheusError, PrometheusServer
from stack.table import rows

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


@attrs.frozen
class Demo:
    """All that the demo runs."""

    load: Load
    exporter: KlagTrio
    prometheus: PrometheusServer | None

    @property
    def addresses(self) -> dict[str, str]:
        """What there is to look at."""
        found = {"page": f"{self.exporter.address}/", "metrics": f"{self.exporter.address}/metrics"}
        if self.prometheus is not None:
            found["prometheus"] = f"{self.prometheus.address}/alerts"
        return found

    def metrics(self) -> str:
        """What klag-trio serves; DemoError once something has failed."""
        if self.load.failure is not None:
            raise DemoError(f"the load generator failed: {self.load.failure!r}")
        return self.exporter.metrics() or ""


@contextlib.contextmanager
def demo(console: Console) -> Iterator[Demo]:
    """Set everything up, and say so on the way; every group is served from the first line of the block on."""
    steps = Steps(console)
    with contextlib.ExitStack() as stack:
        with steps.step(
            f"starting Apache Kafka {CURRENT}, which Maven fetches the first time", "Apache Kafka"
        ):
            cluster = stack.enter_context(KafkaCluster())
        with steps.step(
            "starting producers and consumer groups", f"producers and {len(GROUPS)} consumer groups"
        ):
            load = stack.enter_context(Load(cluster.bootstrap_servers))
        with steps.step("starting klag-trio", "klag-trio"):
            exporter = stack.enter_context(klag_trio(cluster.bootstrap_servers))
            wait_for_all_groups(exporter)
        prometheus = None
        if shutil.which("prometheus") is None:
            steps.skip("no Prometheus: it is not installed here")
        else:
            with steps.step("starting Prometheus", "Prometheus, with the alerts of test-stack/prometheus"):
                targets = {"klag-trio": [exporter.address.removeprefix("http://")]}
                prometheus = stack.enter_context(PrometheusServer(targets, interval="2s"))
        yield Demo(load, exporter, prometheus)


def watch(console: Console, running: Demo, until: float) -> None:
    """Show what is served, again and again."""
    view = View(console, running.addresses, GROUPS)
    with view.live() if console.is_terminal else contextlib.nullcontext() as live:
        while True:
            metrics = running.metrics()
            if live is None:
                print(view.plain(metrics), flush=True)
            else:
                live.update(view.render(metrics), refresh=True)
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
    console = Console()
    try:
        with demo(console) as running:
            watch(console, running, time.monotonic() + arguments.seconds)
    except (StackError, DemoError, PrometheusError) as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
