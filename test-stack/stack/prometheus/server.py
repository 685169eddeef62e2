"""One running Prometheus on a loopback port: Debian's package, or another program."""

from __future__ import annotations

import json
import math
import shutil
import signal
import socket
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from stack import TEST_STACK
from stack.kafka.guarded import GuardedProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

RULES = TEST_STACK / "prometheus" / "rules"
START_SECONDS = 30.0
STOP_SECONDS = 5.0
PAUSE_SECONDS = 0.1
LOG_LINES_SHOWN = 20


class PrometheusError(Exception):
    """Prometheus is not there, did not start, or refused a query; the message says why."""


@attrs.frozen
class Sample:
    """One series of an answer."""

    labels: Mapping[str, str]
    value: float


class PrometheusServer:
    """Scrapes and evaluates inside its `with` block; its data is temporary.

    `targets` are jobs and the addresses, host:port, that they scrape. Where `otlp` is the path of a
    Prometheus 3, that one runs, and takes what is pushed to `/api/v1/otlp/v1/metrics` too.
    """

    def __init__(
        self,
        targets: Mapping[str, list[str]],
        *,
        interval: str = "1s",
        rules: Path | None = RULES,
        otlp: Path | None = None,
    ) -> None:
        self._otlp = otlp
        self._targets = targets
        self._interval = interval
        self._rules = rules
        self._folder: Path | None = None
        self._process: GuardedProcess | None = None
        self.address = ""

    def __enter__(self) -> Self:
        program = shutil.which("prometheus") if self._otlp is None else str(self._otlp)
        if program is None:
            raise PrometheusError("there is no prometheus here: install Debian's package of that name")
        self._folder = folder = Path(tempfile.mkdtemp(prefix="klag-prometheus-"))
        config = folder / "prometheus.yml"
        # JSON is YAML too.
        config.write_text(json.dumps(self._configuration()))
        address = f"127.0.0.1:{_free_port()}"
        self.address = f"http://{address}"
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            *(["--web.enable-otlp-receiver"] if self._otlp is not None else []),
        ]
        with (folder / "prometheus.log").open("w") as log:
            self._process = GuardedProcess(command, folder=folder, output=log)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and remove its data."""
        if self._process is not None:
            self._process.send(signal.SIGTERM)
            self._process.wait(STOP_SECONDS)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def query(self, expression: str) -> list[Sample]:
        """The series of an instant query now, those without NaN."""
        found = self.get("query", query=expression)["result"]
        samples = [Sample(series["metric"], float(series["value"][1])) for series in found]
        return [sample for sample in samples if not math.isnan(sample.value)]

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its HTTP API; PrometheusError shows its error."""
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as exc:
            raise PrometheusError(f"{parameters}: {exc.read().decode()}") from exc

    def _configuration(self) -> dict[str, Any]:
        # What docs/opentelemetry.md tells people to use; an older Prometheus does not know the key.
        otlp = {"otlp": {"translation_strategy": "UnderscoreEscapingWithoutSuffixes"}}
        return {
            **(otlp if self._otlp is not None else {}),
            "global": {
                "scrape_interval": self._interval,
                "scrape_timeout": self._interval,
                "evaluation_interval": self._interval,
            },
            "rule_files": [] if self._rules is None else [str(self._rules / "*.yml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": addresses}]}
                for job, addresses in self._targets.items()
            ],
        }

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        assert self._folder is not None
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"{self.address}/-/ready"):
            if not self._process.running or time.monotonic() > deadline:
                log = (self._folder / "prometheus.log").read_text().splitlines()
                raise PrometheusError("Prometheus did not start:\n" + "\n".join(log[-LOG_LINES_SHOWN:]))
            time.sleep(PAUSE_SECONDS)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
