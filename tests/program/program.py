"""klag-trio as users run it: a process with a configuration file, its log, its exit code and its pages."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from prometheus_client.parser import text_string_to_metric_families
from tests.broker.waiting import PAUSE_SECONDS, SECONDS, wait_until

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")
COMMAND = [sys.executable, "-m", "klag_trio"]
STOP_SECONDS = 5.0


def toml(value: object) -> str:
    """Spell a value as TOML does; tables inside become inline tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def config_text(clusters: Sequence[Mapping[str, Any]], exporter: Mapping[str, Any] | None = None) -> str:
    """A configuration for tests: on a free port of loopback, every series, quick cycles, no cache."""
    timeouts = {"kafka_timeout": "10s", "offset_fetch_timeout": "10s"}
    # What a cycle read from a cache may be older than the cycle.
    caches = dict.fromkeys(
        ("metadata_cache_ttl", "consumer_groups_cache_ttl", "compacted_topics_cache_ttl"), "0s"
    )
    keys = {
        "http_host": "127.0.0.1",
        "http_port": 0,
        "granularity": "partition",
        "poll_interval": "250ms",
        "staleness_threshold": "30s",
        **(exporter or {}),
    }
    keys["performance"] = {**timeouts, **caches, **keys.get("performance", {})}
    lines = ["[exporter]", *(f"{key} = {toml(value)}" for key, value in keys.items())]
    for cluster in clusters:
        lines += ["", "[[clusters]]", *(f"{key} = {toml(value)}" for key, value in cluster.items())]
    return "\n".join(lines) + "\n"


@attrs.frozen
class Page:
    """One answer of /metrics."""

    text: str = attrs.field(repr=False)

    def rows(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The samples of this name that carry these labels: the other labels, sorted, to the value."""
        # Parsing is slow; most lines are about something else.
        lines = [line for line in self.text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        wanted = labels.items()
        return {
            tuple(sorted(sample.labels.items() - wanted)): sample.value
            for family in text_string_to_metric_families("\n".join(lines) + "\n")
            for sample in family.samples
            if wanted <= sample.labels.items()
        }

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the only sample of this name that carries these labels; None where there is none."""
        found = list(self.rows(name, **labels).values())
        assert len(found) <= 1, f"{len(found)} samples of {name} with {labels}"
        return found[0] if found else None

    def by_partition(self, name: str, **labels: str) -> dict[tuple[str, int], float]:
        """The samples of this name that carry these labels, by topic and partition, which they must tell."""
        found = {}
        for rest, value in self.rows(name, **labels).items():
            told = {**labels, **dict(rest)}
            found[told["topic"], int(told["partition"])] = value
        return found


@attrs.define
class Program:
    """A running klag-trio."""

    process: subprocess.Popen[str]
    _lines: list[str] = attrs.field(factory=list)
    _log: list[dict[str, Any]] = attrs.field(factory=list)

    @property
    def output(self) -> str:
        """All that it wrote so far, to either stream."""
        return "".join(self._lines)

    def lines_from(self, start: int) -> list[str]:
        """The lines that it wrote so far, without the first `start`."""
        return self._lines[start:]

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """The lines of its log, or those of one event."""
        return [entry for entry in list(self._log) if event is None or entry["event"] == event]

    @property
    def port(self) -> int:
        """What it listens on, once it does."""

        def listening() -> list[dict[str, Any]]:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.output}"
            return self.log("serving")

        return int(wait_until(listening, "klag-trio serves")[0]["port"])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metrics(self) -> Page:
        """What it serves now."""
        status, text = self.get("/metrics")
        assert status == 200
        return Page(text)

    def shows(self, expected: object, look: Callable[[Page], T], seconds: float = SECONDS) -> list[T]:
        """Look at /metrics until what is seen is as expected; returns all that was seen on the way.

        AssertionError shows what was seen instead.
        """
        deadline = time.monotonic() + seconds
        seen: list[T] = []
        while True:
            now = look(self.metrics())
            if not seen or seen[-1] != now:
                seen.append(now)
            if now == expected or time.monotonic() > deadline:
                assert expected == now, f"seen before: {seen}"
                return seen
            time.sleep(PAUSE_SECONDS)

    def next_cycle(self, cluster: str) -> Page:
        """The first page made of what a good cycle read that began after this call."""
        for _ in range(2):
            # The one that runs may have begun before.
            before = self.metrics().value(LAST_UPDATE, cluster_name=cluster)
            wait_until(
                lambda before=before: (  # type: ignore[misc]
                    self.metrics().value(LAST_UPDATE, cluster_name=cluster) not in (before, None)
                ),
                f"another cycle of {cluster}",
            )
        return self.metrics()

    def stop(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal and return the exit code, and the seconds it took to end."""
        start = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        return code, time.monotonic() - start

    def read(self) -> None:
        """Take what it writes, until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)
            if line.startswith("{"):
                self._log.append(json.loads(line))


LAST_UPDATE = "kafka_lag_exporter_last_update_timestamp_seconds"


@contextmanager
def running(
    folder: Path,
    text: str,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> Iterator[Program]:
    """Run klag-trio with this configuration; it is gone after the block, and must not have crashed in it.

    `within` is a command that makes its surroundings and then becomes the program.
    """
    path = folder / "config.toml"
    path.write_text(text)
    process = subprocess.Popen(
        [*within, *COMMAND, "-c", str(path), "--log-format", "json", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environ or {})},
    )
    program = Program(process)
    reader = threading.Thread(target=program.read)
    reader.start()
    try:
        yield program
        assert process.poll() in (None, 0), f"ended with {process.returncode}: {program.output}"
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()
    assert "Traceback" not in program.output, program.output


def troubles_that_last(program: Program, cluster: str) -> set[tuple[str, str, str]]:
    """What its log says cannot be read in a cluster, without what it said later can be read again."""
    lasting = set()
    for line in program.log():
        if line.get("cluster") != cluster or "subject" not in line:
            continue
        stage = line["event"].removeprefix("cannot ").removeprefix("can ").removesuffix(" again")
        trouble = stage, line["subject"], line["code"]
        if line["event"].startswith("cannot"):
            lasting.add(trouble)
        else:
            lasting.discard(trouble)
    return lasting


@attrs.frozen
class Ended:
    """How a run of the program ended."""

    code: int
    output: str
    """Both streams."""
    seconds: float


def run(
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    within: Sequence[str] = (),
) -> Ended:
    """Run klag-trio to its end; `within` is as for `running`."""
    start = time.monotonic()
    done = subprocess.run(
        [*within, *COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **(environ or {})},
        cwd=cwd,
    )
    return Ended(done.returncode, done.stdout, time.monotonic() - start)
