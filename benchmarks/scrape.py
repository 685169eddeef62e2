"""Scrapes and /health questions from another process, and single scrapes whose body is looked at."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import cattrs

from benchmarks.figures import Figures, percentile
from benchmarks.subjects import Subject

BURSTS = 100
BURSTS_AT_ONCE = 25
AT_ONCE = 8
LIMIT = 60.0  # seconds that one series of scrapes may take
HEALTH_INTERVAL = 0.02
_ROOT = str(Path(__file__).resolve().parents[1])


class ScrapeError(RuntimeError):
    """An exporter did not answer as an exporter does."""


@attrs.frozen
class Health:
    """What the questions asked of /health came to."""

    first: float | None  # when the first 200 had arrived, monotonic
    slowest_ms: float | None
    failures: int  # after the first 200


def fetch(subject: Subject) -> bytes:
    """One plain scrape; OSError or ScrapeError where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=30)
    try:
        connection.request("GET", "/metrics", headers={"Accept": "text/plain;version=0.0.4"})
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as exc:
        raise ScrapeError(f"{subject.title}: {exc!r}") from exc
    finally:
        connection.close()
    if answer.status != 200:
        raise ScrapeError(f"{subject.title} answers {answer.status} for /metrics")
    return body


@contextlib.contextmanager
def asking_health(subject: Subject) -> Iterator[Callable[[], Health]]:
    """Ask /health every 20 ms over one kept connection; call what it yields to end and see."""
    with _client("health", subject.url + subject.dialect.health, str(HEALTH_INTERVAL)) as client:
        yield lambda: _health(_result(client, timeout=40))


def _health(result: dict[str, Any]) -> Health:
    slowest = max(result["latencies"]) * 1000 if result["latencies"] else None
    return Health(result["first"], slowest, result["failures"])


def scrape_figures(subject: Subject, spread: float) -> Figures:
    """One after the other plain and gzipped, then eight at once, each series over `spread` seconds."""
    plain = _series(subject, BURSTS, spread, 1, "identity")
    zipped = _series(subject, BURSTS, spread, 1, "gzip")
    crowd = _series(subject, BURSTS_AT_ONCE, spread, AT_ONCE, "identity")
    figures: Figures = {
        "plain_bytes": plain.size,
        "scrape_failures": sum(series.failures for series in (plain, zipped, crowd)),
        "hollow_scrapes": sum(series.hollow for series in (plain, zipped, crowd)),
    }
    figures |= plain.figures("scrape") | crowd.figures("at_once")
    if zipped.encoding == "gzip":
        figures |= zipped.figures("gzip") | {"gzip_bytes": zipped.size}
    return figures


@attrs.frozen
class Series:
    """Scrapes of one kind.

    An answer that lost most of its samples, as when the exporter's data turned stale under the load, is
    hollow: it is counted, and its latency says nothing.
    """

    answers: list[tuple[float, int]]  # seconds and bytes
    failures: int
    encoding: str

    @property
    def size(self) -> int | None:
        return max((size for _, size in self.answers), default=None)

    @property
    def hollow(self) -> int:
        return len(self.answers) - len(self._whole())

    def figures(self, name: str) -> Figures:
        """Percentiles in milliseconds."""
        return {
            f"{name}_p50_ms": percentile(self._whole(), 0.5),
            f"{name}_p99_ms": percentile(self._whole(), 0.99),
        }

    def _whole(self) -> list[float]:
        return [seconds * 1000 for seconds, size in self.answers if size > (self.size or 0) / 2]


def _series(subject: Subject, count: int, spread: float, at_once: int, encoding: str) -> Series:
    arguments = [subject.url + "/metrics", str(count), str(spread), str(at_once), encoding, str(LIMIT)]
    with _client("scrape", *arguments) as client:
        return cattrs.structure(_result(client, timeout=LIMIT + 60), Series)


@contextlib.contextmanager
def _client(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """benchmarks.client, started and ready."""
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.client", *arguments],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert client.stdout is not None
        client.stdout.readline()
        yield client
    finally:
        client.kill()
        client.communicate()


def _result(client: subprocess.Popen[str], timeout: float) -> dict[str, Any]:
    output, _ = client.communicate(timeout=timeout)
    if client.returncode != 0 or not output.strip():
        raise ScrapeError(f"the scraping process ended with {client.returncode}")
    return cast("dict[str, Any]", json.loads(output))
