from __future__ import annotations

import gzip
import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from benchmarks.client import Connection, burst, scrape
from benchmarks.scrape import Series

BODY = b"lag 1\n" * 500_000
ROOT = Path(__file__).resolve().parents[3]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections = 0

    def setup(self) -> None:
        type(self).connections += 1
        super().setup()

    def do_GET(self) -> None:
        body = BODY
        self.send_response(503 if self.path == "/down" else 200)
        if "gzip" in self.headers["Accept-Encoding"]:
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 100_000):
                part = body[start : start + 100_000]
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        if self.path == "/to-the-end":
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body) * (2 if self.path == "/short" else 1)))
        self.end_headers()
        self.wfile.write(body)
        if self.path in ("/short", "/closing"):
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@pytest.fixture
def url() -> Iterator[str]:
    _Handler.connections = 0
    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_eight_at_once_give_eight_latencies_each_time_over_kept_connections(url: str) -> None:
    found = scrape(url + "/metrics", count=5, spread=0.1, at_once=8, encoding="identity", limit=20)

    assert 40 == len(found["answers"])
    assert {len(BODY)} == {size for _, size in found["answers"]}
    assert 8 == _Handler.connections
    assert ("identity", 0) == (found["encoding"], found["failures"])


def test_gzip_is_counted_as_it_came_over_the_wire(url: str) -> None:
    found = scrape(url + "/metrics", count=1, spread=0, at_once=1, encoding="gzip", limit=20)

    assert len(gzip.compress(BODY, 1)) == found["answers"][0][1]
    assert "gzip" == found["encoding"]


@pytest.mark.parametrize("path", ["/chunked", "/to-the-end", "/closing"])
def test_every_way_to_end_an_answer_is_understood_again_and_again(url: str, path: str) -> None:
    found = scrape(url + path, count=3, spread=0.2, at_once=2, encoding="identity", limit=20)

    assert (6, 0) == (len(found["answers"]), found["failures"])
    assert min(size for _, size in found["answers"]) >= len(BODY)


def test_an_answer_that_is_cut_off_is_a_failure_and_no_latency(url: str) -> None:
    found = scrape(url + "/short", count=2, spread=0, at_once=1, encoding="identity", limit=20)

    assert ([], 2) == (found["answers"], found["failures"])


def test_the_status_is_kept(url: str) -> None:
    connection = Connection(url + "/down")
    list(burst([connection]))
    connection.close()

    assert 503 == connection.status


def test_scrapes_end_at_their_limit() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as closed:
        port = closed.server_address[1]
    started = time.monotonic()
    scrape(f"http://127.0.0.1:{port}/", count=1000, spread=100, at_once=1, encoding="identity", limit=0.3)

    assert time.monotonic() - started < 2


def test_health_is_asked_from_before_the_start_until_standard_input_closes(url: str) -> None:
    begun = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.client", "health", url + "/health", "0.001"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        assert "ready\n" == client.stdout.readline()
        while _Handler.connections == 0:
            time.sleep(0.01)
        output, _ = client.communicate(timeout=30)
    found = json.loads(output)

    assert begun < found["first"] < time.monotonic()
    assert 0 == found["failures"]


def test_an_answer_without_its_samples_is_counted_and_not_timed() -> None:
    series = Series([(0.2, 5_000_000), (0.001, 900), (0.3, 5_100_000)], failures=0, encoding="identity")

    assert 1 == series.hollow
    assert 5_100_000 == series.size
    assert {"scrape_p50_ms": 200.0, "scrape_p99_ms": 300.0} == series.figures("scrape")
