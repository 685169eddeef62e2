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
    is_zipped = zipped["encoding"] == "gzip"
    return {
        "scrape_p50_ms": _ms(plain, 0.5),
        "scrape_p99_ms": _ms(plain, 0.99),
        "gzip_p50_ms": _ms(zipped, 0.5) if is_zipped else None,
        "gzip_p99_ms": _ms(zipped, 0.99) if is_zipped else None,
        "at_once_p50_ms": _ms(crowd, 0.5),
        "at_once_p99_ms": _ms(crowd, 0.99),
        "plain_bytes": plain["bytes"],
        "gzip_bytes": zipped["bytes"] if is_zipped else None,
        "scrape_failures": plain["failures"] + zipped["failures"] + crowd["failures"],
    }


def _series(subject: Subject, count: int, spread: float, at_once: int, encoding: str) -> dict[str, Any]:
    arguments = [subject.url + "/metrics", str(count), str(spread), str(at_once), encoding, str(LIMIT)]
    with _client("scrape", *arguments) as client:
        return _result(client, timeout=LIMIT + 60)


def _ms(series: dict[str, Any], share: float) -> float | None:
    seconds = percentile(series["latencies"], share)
    return None if seconds is None else seconds * 1000


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
