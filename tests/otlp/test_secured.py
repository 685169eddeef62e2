"""What klag-trio pushes over TLS and with a token, to a real collector that asks for them."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from tests.broker.waiting import wait_until
from tests.program.program import STOP_SECONDS, Program, config_text, running

from stack.collector import OtelCollector

# With a quote, which the SDK would refuse in a variable that it reads.
TOKEN = 's3cret-"t0ken'
P = "OTEL_EXPORTER_OTLP_"
PROTOCOLS = ["grpc", "http/protobuf"]


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    for name in ("server", "client", "other"):
        openssl(
            tmp_path, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip
    return tmp_path


def overlay(folder: Path, text: str) -> Path:
    path = folder / "overlay.yaml"
    path.write_text(text)
    return path


def tls(folder: Path, more: str = "") -> Path:
    pair = f"cert_file: {folder}/server.pem, key_file: {folder}/server.key"
    each = ", ".join(f"{name}: {{tls: {{{pair}{more}}}}}" for name in ("grpc", "http"))
    return overlay(folder, f"receivers: {{otlp: {{protocols: {{{each}}}}}}}\n")


def config(scheme: str, collector: OtelCollector, protocol: str) -> str:
    otel = {
        "enabled": True,
        "protocol": protocol,
        "endpoint": collector.endpoint(protocol, scheme),
        "export_interval": "1s",
    }
    return config_text([{"name": "prod", "bootstrap_servers": "127.0.0.1:1"}], {"otel": otel})


def fails(program: Program) -> None:
    wait_until(
        lambda: (program.metrics().value("klag_otlp_exports_total", outcome="failure") or 0) > 1, "failures"
    )
    assert 1 == len(program.log("OTLP export fails"))
    assert 0 == program.metrics().value("klag_otlp_exports_total", outcome="success")
    code, seconds = program.stop(signal.SIGTERM)
    assert (0, True) == (code, seconds < STOP_SECONDS), seconds


def arrives(collector: OtelCollector) -> None:
    wait_until(lambda: "klag_leader" in collector.metrics(), "samples at the collector")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mutual", [False, True])
def test_samples_arrive_over_tls(certificates: Path, mutual: bool, protocol: str) -> None:
    c = certificates
    # Neither counts beside what is given for OTLP.
    environ = {"REQUESTS_CA_BUNDLE": f"{c}/other.pem", "CURL_CA_BUNDLE": f"{c}/other.pem"}
    environ[f"{P}CERTIFICATE"] = f"{c}/server.pem"
    if mutual:
        environ |= {f"{P}CLIENT_CERTIFICATE": f"{c}/client.pem", f"{P}CLIENT_KEY": f"{c}/client.key"}
    more = f", client_ca_file: {c}/client.pem" if mutual else ""
    with (
        OtelCollector(c, tls(c, more)) as collector,
        running(c, config("https", collector, protocol), environ=environ),
    ):
        arrives(collector)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("trusted", "mutual"), [("other", False), ("server", True)])
def test_a_wrong_authority_or_no_client_certificate_fails(
    certificates: Path, trusted: str, mutual: bool, protocol: str
) -> None:
    c = certificates
    more = f", client_ca_file: {c}/client.pem" if mutual else ""
    environ = {f"{P}CERTIFICATE": f"{c}/{trusted}.pem"}
    with (
        OtelCollector(c, tls(c, more)) as collector,
        running(c, config("https", collector, protocol), environ=environ) as program,
    ):
        fails(program)
        assert "klag_leader" not in collector.metrics()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("token", [TOKEN, f"{TOKEN}-wrong", None])
def test_a_collector_that_asks_for_a_token_takes_only_the_right_one(
    tmp_path: Path, token: str | None, protocol: str
) -> None:
    auth = overlay(
        tmp_path,
        f"extensions: {{bearertokenauth: {{token: '{TOKEN}'}}}}\n"
        "receivers: {otlp: {protocols: {grpc: {auth: &token {authenticator: bearertokenauth}}, "
        "http: {auth: *token}}}}\n"
        "service: {extensions: [bearertokenauth]}\n",
    )
    environ = {} if token is None else {f"{P}HEADERS": f"authorization=Bearer%20{token}"}
    with (
        OtelCollector(tmp_path, auth) as collector,
        running(tmp_path, config("http", collector, protocol), environ=environ) as program,
    ):
        if token == TOKEN:
            arrives(collector)
        else:
            fails(program)
        assert TOKEN not in program.output
