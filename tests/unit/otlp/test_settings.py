"""What is made of the endpoint and the standard variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from klag_trio.config import Exporter, Otel
from klag_trio.otlp.settings import OtlpSettings, OtlpSettingsError, Protocol, hide_variables, read_settings

PREFIX = "OTEL_EXPORTER_OTLP_"
HTTP: Protocol = "http/protobuf"


def settings(
    variables: Mapping[str, str] | None = None,
    *,
    endpoint: str | None = None,
    protocol: Protocol | None = None,
    interval: float = 60.0,
) -> OtlpSettings:
    otel = Otel(enabled=True, endpoint=endpoint, protocol=protocol, export_interval=interval)
    return read_settings(Exporter(otel=otel), variables or {})


@pytest.mark.parametrize(
    ("endpoint", "expected", "tls"),
    [
        (None, "http://localhost:4317", False),
        ("http://localhost:4317", "http://localhost:4317", False),
        ("http://localhost:4317/", "http://localhost:4317", False),
        ("http://localhost", "http://localhost:80", False),
        ("https://localhost", "https://localhost:443", True),
        ("https://[::1]:4317", "https://[::1]:4317", True),
    ],
)
def test_the_endpoint_says_where_and_whether_over_tls(endpoint: str | None, expected: str, tls: bool) -> None:
    found = settings(endpoint=endpoint)
    assert (expected, tls) == (found.endpoint, found.tls)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (None, "http://localhost:4318/v1/metrics"),
        ("http://localhost:4318", "http://localhost:4318/v1/metrics"),
        ("http://localhost:4318/", "http://localhost:4318/v1/metrics"),
        ("https://prometheus:9090/api/v1/otlp/v1/metrics", "https://prometheus:9090/api/v1/otlp/v1/metrics"),
        ("http://localhost/otlp?tenant=a", "http://localhost/otlp?tenant=a"),
    ],
)
def test_over_http_an_endpoint_without_a_path_gets_the_usual_one(endpoint: str | None, expected: str) -> None:
    assert expected == settings(endpoint=endpoint, protocol=HTTP).endpoint


def test_over_grpc_an_endpoint_with_a_path_is_refused() -> None:
    with pytest.raises(OtlpSettingsError, match=r"exporter\.otel\.endpoint: .* no path"):
        settings(endpoint="http://localhost:4317/v1/metrics")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        # That for all signals is where their paths begin; that for metrics is the whole.
        ("ENDPOINT", "http://c:4318", "http://c:4318/v1/metrics"),
        ("ENDPOINT", "http://c/otlp/", "http://c/otlp/v1/metrics"),
        ("METRICS_ENDPOINT", "http://c/otlp", "http://c/otlp"),
        ("METRICS_ENDPOINT", "http://c:4318", "http://c:4318/v1/metrics"),
    ],
)
def test_what_the_file_does_not_say_the_variables_do(name: str, value: str, expected: str) -> None:
    found = settings({PREFIX + name: value, f"{PREFIX}PROTOCOL": HTTP})
    assert (HTTP, expected, ()) == (found.protocol, found.endpoint, found.ignored)


def test_what_the_file_says_goes_before_the_variables_and_they_are_named() -> None:
    variables = {f"{PREFIX}ENDPOINT": "http://other:1", f"{PREFIX}METRICS_PROTOCOL": "grpc"}
    found = settings(variables, endpoint="http://localhost:1", protocol=HTTP)
    assert (HTTP, "http://localhost:1/v1/metrics") == (found.protocol, found.endpoint)
    assert (f"{PREFIX}ENDPOINT", f"{PREFIX}METRICS_PROTOCOL") == found.ignored


def test_a_variable_that_says_the_same_as_the_file_is_not_named() -> None:
    assert () == settings({f"{PREFIX}PROTOCOL": "grpc"}, protocol="grpc").ignored


def test_no_request_may_take_longer_than_an_interval() -> None:
    assert (5.0, 10.0) == (settings(interval=5.0).timeout, settings().timeout)


def test_headers_are_percent_decoded_and_their_names_lowered() -> None:
    found = settings({f"{PREFIX}HEADERS": "Authorization=Bearer%20a%3Db%2Cc, x-tenant = one ,"})
    assert (("authorization", "Bearer a=b,c"), ("x-tenant", "one")) == found.headers


def test_of_a_header_that_is_given_twice_the_last_value_holds() -> None:
    assert (("x-tenant", "two"),) == settings({f"{PREFIX}HEADERS": "x-tenant=one,X-Tenant=two"}).headers


def test_a_variable_for_metrics_goes_before_the_general_one() -> None:
    found = settings({f"{PREFIX}METRICS_TIMEOUT": "2500", f"{PREFIX}TIMEOUT": "1000"})
    assert 2.5 == found.timeout


def test_unset_and_empty_variables_leave_the_defaults() -> None:
    found = settings({f"{PREFIX}TIMEOUT": "", f"{PREFIX}COMPRESSION": " ", f"{PREFIX}CERTIFICATE": ""})
    assert (10.0, True, None, ()) == (found.timeout, found.gzip, found.certificate, found.headers)


@pytest.mark.parametrize(("text", "gzip"), [("gzip", True), ("none", False)])
def test_compression_is_gzip_or_none(text: str, gzip: bool) -> None:
    assert gzip == settings({f"{PREFIX}COMPRESSION": text}).gzip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADERS", "s3cret"),
        ("HEADERS", "=s3cret"),
        ("HEADERS", "authorization=s3cret%0A"),
        ("HEADERS", "authorization=%20s3cret"),
        ("HEADERS", "grpc-timeout=s3cret"),
        ("HEADERS", "token-bin=s3cret"),
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "0"),
        ("TIMEOUT", "-1"),
        ("TIMEOUT", "1.5"),
        ("TIMEOUT", "9" * 400),
        ("TIMEOUT", "\N{FULLWIDTH DIGIT ONE}"),
        ("COMPRESSION", "zstd"),
        ("PROTOCOL", "http/json"),
        ("PROTOCOL", "GRPC"),
        ("ENDPOINT", "localhost:4317"),
        ("ENDPOINT", "http://user:s3cret@localhost:4317"),
        ("ENDPOINT", "http://local host:4317"),
        ("ENDPOINT", "http://localhost\t:4317"),
        ("METRICS_ENDPOINT", "http://[::1"),
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
        settings({PREFIX + name: value})
    assert PREFIX + name in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_certificate_and_a_key_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.pem"
    path.write_text("none")
    with pytest.raises(OtlpSettingsError, match=f"{PREFIX}CLIENT_CERTIFICATE, {PREFIX}CLIENT_KEY: "):
        settings({f"{PREFIX}CLIENT_CERTIFICATE": str(path), f"{PREFIX}CLIENT_KEY": str(path)})


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(OtlpSettingsError) as raised:
        settings({f"{PREFIX}TIMEOUT": "x", f"{PREFIX}COMPRESSION": "y", "OTEL_RESOURCE_ATTRIBUTES": "z"})
    assert 3 == len(str(raised.value).splitlines())


def test_resource_attributes_go_before_ours_and_the_service_name_before_them() -> None:
    attributes = "service.name=theirs,team=a%20b"
    found = settings({"OTEL_RESOURCE_ATTRIBUTES": attributes}).resource
    assert ("theirs", "a b") == (found["service.name"], found["team"])
    assert {"service.name", "service.version", "service.instance.id", "team"} == found.keys()
    named = settings({"OTEL_RESOURCE_ATTRIBUTES": attributes, "OTEL_SERVICE_NAME": "named"}).resource
    assert "named" == named["service.name"]
    assert "klag-trio" == settings().resource["service.name"]


def test_no_secret_is_in_the_representation() -> None:
    assert "s3cret" not in repr(settings({f"{PREFIX}HEADERS": "authorization=s3cret"}))


def test_a_query_which_may_hold_a_token_is_not_shown() -> None:
    found = settings(endpoint="http://localhost/otlp?token=s3cret", protocol=HTTP)
    assert "http://localhost/otlp" == found.address
    assert ["token=s3cret"] == found.secrets


def test_headers_are_secret_with_and_without_their_scheme_and_the_longest_go_first() -> None:
    found = settings({f"{PREFIX}HEADERS": "x-org=s3,x-user=s3cr,authorization=Bearer%20s3cret"})
    assert ["Bearer s3cret", "s3cret", "s3cr"] == found.secrets


def test_opentelemetry_finds_no_variable() -> None:
    environ = {f"{PREFIX}HEADERS": "a=b", "OTEL_PYTHON_X": "1", "HOME": "/", "GRPC_VERBOSITY": "DEBUG"}
    hide_variables(environ)
    assert {"HOME": "/", "GRPC_VERBOSITY": "DEBUG"} == environ
    del environ["GRPC_VERBOSITY"]
    hide_variables(environ)
    assert "NONE" == environ["GRPC_VERBOSITY"]
