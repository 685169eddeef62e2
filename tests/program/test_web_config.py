"""The endpoint as users secure it: the program with a web config file, and Prometheus's own client."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import bcrypt
import pytest
import yaml
from tests.broker.waiting import wait_until
from tests.program.program import Program, config_text, run, running
from tests.unit.services.certificates import Authority, client_context

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Kafka

PASSWORD = "rosebud-1941"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()
AUTHORIZATION = {"Authorization": "Basic " + base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()}
UNREACHABLE = {"name": "nowhere", "bootstrap_servers": "127.0.0.1:1"}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def web_file(folder: Path, authority: Authority, **more: object) -> Path:
    authority.write_server(folder)
    (folder / "ca.pem").write_text(authority.pem())
    tls = {
        "cert_file": "server.crt",
        "key_file": "server.key",
        "client_ca_file": "ca.pem",
        "client_auth_type": "RequireAndVerifyClientCert",
    }
    path = folder / "web.yml"
    path.write_text(
        yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {"prometheus": HASH}, **more})
    )
    return path


def get(
    port: int, path: str, context: ssl.SSLContext | None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    else:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_only_who_has_certificate_and_password_gets_metrics_and_probes_have_a_listener_of_their_own(
    kafka: Kafka, authority: Authority, tmp_path: Path
) -> None:
    path = web_file(tmp_path, authority)
    text = config_text([{"name": "main", "bootstrap_servers": kafka.bootstrap_servers}])
    options = ("--web.config.file", str(path), "--web.probe-listen-address", "127.0.0.1:0")
    trusted = client_context(authority, authority.write_client(tmp_path, "scraper.example"))
    with running(tmp_path, text, *options, "--log-level", "trace") as program:
        port = program.port
        probes = int(wait_until(lambda: program.log("serving probes"), "probes are served")[0]["port"])
        wait_until(lambda: get(probes, "/ready", None)[0] == 200, "it is ready")
        for path_asked in ("/metrics", "/", "/health", "/ready", "/leader"):
            assert 200 == get(port, path_asked, trusted, AUTHORIZATION)[0]
            assert 401 == get(port, path_asked, trusted)[0]
            with pytest.raises((ssl.SSLError, ConnectionError)):
                get(port, path_asked, client_context(authority), AUTHORIZATION)
        assert (200, "ok") == get(probes, "/health", None)
        assert (200, "ready") == get(probes, "/ready", None)
        for other in ("/metrics", "/", "/leader", "/health/"):
            assert (404, "not found") == get(probes, other, None)
        assert (200, "ok") == get(probes, "//health", None) == get(port, "//health", trusted, AUTHORIZATION)
        page = get(port, "/metrics", trusted, AUTHORIZATION)[1]
        assert 'klag_web_config_reloads_total{outcome="failure"} 0' in page
        # A user who is taken out of the file is out; a file that is none leaves all as it is.
        path.write_text(path.read_text().replace("prometheus:", "other:"))
        wait_until(lambda: get(port, "/health", trusted, AUTHORIZATION)[0] == 401, "the user is out")
        path.write_text("basic_auth_users: hunter2")
        refused = "the web config has changed and cannot be used: the one before goes on to hold"
        (line,) = wait_until(lambda: program.log(refused), "it says that it keeps what was")
        assert ["basic_auth_users: expected a table of user names and bcrypt hashes"] == line["problems"]
        assert 401 == get(port, "/health", trusted, AUTHORIZATION)[0]
        assert (200, "ok") == get(probes, "/health", None)
        code, _ = program.stop(signal.SIGTERM)
    assert 0 == code
    for secret in (PASSWORD, HASH, "hunter2", AUTHORIZATION["Authorization"]):
        assert secret not in program.output
        assert secret not in page


def scraped_by_prometheus(program: Program, client: tuple[Path, Path], tmp_path: Path) -> None:
    """Let a real Prometheus scrape it, and wait until it says that its target is up."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        own_port = free.getsockname()[1]
    job = {
        "job_name": "klag",
        "scheme": "https",
        "scrape_interval": "1s",
        "static_configs": [{"targets": [f"127.0.0.1:{program.port}"]}],
        "basic_auth": {"username": "prometheus", "password": PASSWORD},
        "tls_config": {
            "ca_file": str(tmp_path / "ca.pem"),
            "cert_file": str(client[0]),
            "key_file": str(client[1]),
        },
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{own_port}"], stdout=log, stderr=log
        )
    try:

        def up() -> bool:
            try:
                status, text = get(own_port, "/api/v1/query?query=up", None)
            except OSError:
                return False
            return status == 200 and '"1"]' in text

        wait_until(up, "Prometheus has scraped it", 60)
    finally:
        server.kill()
        server.wait()


def test_a_real_prometheus_scrapes_it_with_certificate_and_password(
    authority: Authority, tmp_path: Path
) -> None:
    path = web_file(tmp_path, authority)
    client = authority.write_client(tmp_path, "scraper.example")
    with running(tmp_path, config_text([UNREACHABLE]), "--web.config.file", str(path)) as program:
        scraped_by_prometheus(program, client, tmp_path)


def test_a_wrong_web_config_ends_it_with_2_and_names_file_and_key(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(config_text([UNREACHABLE]))
    path = tmp_path / "web.yml"
    path.write_text(
        "tls_server_config: {client_auth_type: RequestClientCert}\nbasic_auth_users: {a: hunter2}"
    )
    ended = run("-c", str(config), "--web.config.file", str(path))
    assert 2 == ended.code
    lines = ended.output.splitlines()
    assert [
        f"klag-trio: {path}: tls_server_config.client_auth_type",
        f"klag-trio: {path}: basic_auth_users.a",
    ] == [line.split(": expected")[0] for line in lines]
    assert "hunter2" not in ended.output
    ended = run("-c", str(config), "--web.config.file", str(tmp_path / "missing.yml"))
    assert (2, f"klag-trio: {tmp_path}/missing.yml: cannot be read: No such file or directory\n") == (
        ended.code,
        ended.output,
    )


@pytest.mark.parametrize("address", ["8001", "localhost", "localhost:x", "localhost:99999", ""])
def test_a_wrong_probe_address_ends_it_with_2(tmp_path: Path, address: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(config_text([UNREACHABLE]))
    ended = run("-c", str(config), "--web.probe-listen-address", address)
    assert 2 == ended.code
    assert "expected HOST:PORT" in ended.output
    assert "Traceback" not in ended.output


def test_a_probe_address_in_use_is_a_fault_that_names_the_option(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(config_text([UNREACHABLE]))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run("-c", str(config), "--web.probe-listen-address", address)
    assert 1 == ended.code
    assert f"--web.probe-listen-address: cannot listen on {address}: {os.strerror(98)}" in ended.output
