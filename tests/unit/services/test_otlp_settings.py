"""What is made of the endpoint and the standard variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from klag_trio.config import Exporter, Otel
from klag_trio.services.otlp_settings import OtlpSettings, OtlpSettingsError, read_settings

PREFIX = "OTEL_EXPORTER_OTLP_"


def settings(endpoint: str = "http://localhost:4317", **environ: str) -> OtlpSettings:
    return read_settings(Exporter(otel=Otel(enabled=True, endpoint=endpoint)), environ)


@pytest.mark.parametrize(
    ("endpoint", "target", "tls"),
    [
        ("http://localhost:4317", "localhost:4317", False),
        ("http://localhost:4317/", "localhost:4317", False),
        ("http://localhost", "localhost:80", False),
        ("https://localhost", "localhost:443", True),
        ("https://[::1]:4317", "[::1]:4317", True),
    ],
)
def test_the_endpoint_says_where_and_whether_over_tls(endpoint: str, target: str, tls: bool) -> None:
    found = settings(endpoint)
    assert (target, tls) == (found.target, found.tls)


def test_an_endpoint_with_a_path_is_refused() -> None:
    with pytest.raises(OtlpSettingsError, match=r"exporter\.otel\.endpoint: .* no path"):
        settings("http://localhost:4317/v1/metrics")


def test_headers_are_percent_decoded_and_their_names_lowered() -> None:
    found = settings(**{f"{PREFIX}HEADERS": "Authorization=Bearer%20a%3Db%2Cc, x-tenant = one ,"})
    assert (("authorization", "Bearer a=b,c"), ("x-tenant", "one")) == found.headers


def test_a_variable_for_metrics_goes_before_the_general_one() -> None:
    found = settings(**{f"{PREFIX}METRICS_TIMEOUT": "2500", f"{PREFIX}TIMEOUT": "1000"})
    assert 2.5 == found.timeout


def test_unset_and_empty_variables_leave_the_defaults() -> None:
    found = settings(**{f"{PREFIX}TIMEOUT": "", f"{PREFIX}COMPRESSION": " ", f"{PREFIX}CERTIFICATE": ""})
    assert (10.0, True, None, ()) == (found.timeout, found.gzip, found.certificate, found.headers)


@pytest.mark.parametrize(("text", "gzip"), [("gzip", True), ("none", False)])
def test_compression_is_gzip_or_none(text: str, gzip: bool) -> None:
    assert gzip == settings(**{f"{PREFIX}COMPRESSION": text}).gzip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADERS", "s3cret"),
        ("HEADERS", "=s3cret"),
        ("HEADERS", "authorization=s3cret%0A"),
        ("HEADERS", "grpc-timeout=s3cret"),
        ("HEADERS", "token-bin=s3cret"),
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "-1"),
        ("COMPRESSION", "zstd"),
        ("CERTIFICATE", "/nowhere/ca.pem"),
        ("CERTIFICATE", "/"),
        ("CERTIFICATE", "/dev/zero"),
        ("CERTIFICATE", __file__),
        ("CLIENT_CERTIFICATE", __file__),
        ("CLIENT_KEY", __file__),
    ],
)
def test_a_mistake_names_its_variable_and_shows_no_header(name: str, value: str) -> None:
    with pytest.raises(OtlpSettingsError) as raised:
        settings(**{PREFIX + name: value})
    assert PREFIX + name in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_certificate_and_a_key_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.pem"
    path.write_text("none")
    with pytest.raises(OtlpSettingsError, match=f"{PREFIX}CLIENT_CERTIFICATE, {PREFIX}CLIENT_KEY: "):
        settings(**{f"{PREFIX}CLIENT_CERTIFICATE": str(path), f"{PREFIX}CLIENT_KEY": str(path)})


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(OtlpSettingsError) as raised:
        settings(**{f"{PREFIX}TIMEOUT": "x", f"{PREFIX}COMPRESSION": "y", "OTEL_RESOURCE_ATTRIBUTES": "z"})
    assert 3 == len(str(raised.value).splitlines())


def test_resource_attributes_go_before_ours_and_the_service_name_before_them() -> None:
    attributes = "service.name=theirs,team=a%20b"
    found = settings(OTEL_RESOURCE_ATTRIBUTES=attributes).resource
    assert ("theirs", "a b") == (found["service.name"], found["team"])
    assert {"service.name", "service.version", "service.instance.id", "team"} == found.keys()
    named = settings(OTEL_RESOURCE_ATTRIBUTES=attributes, OTEL_SERVICE_NAME="named").resource
    assert "named" == named["service.name"]
    assert "klag-trio" == settings().resource["service.name"]


def test_variables_without_an_effect_are_named() -> None:
    found = settings(**{f"{PREFIX}ENDPOINT": "http://other:1", f"{PREFIX}PROTOCOL": "grpc"})
    assert (f"{PREFIX}ENDPOINT",) == found.ignored


def test_no_secret_is_in_the_representation() -> None:
    assert "s3cret" not in repr(settings(**{f"{PREFIX}HEADERS": "authorization=s3cret"}))
