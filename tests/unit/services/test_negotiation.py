from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.web.negotiation import wants_gzip, wants_openmetrics

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_2,
        PROMETHEUS_3,
        "application/openmetrics-text",
        "APPLICATION/OpenMetrics-Text; Version=1.0.0; charset=utf-8",
        'application/openmetrics-text; version="1.0.0"',
        "application/openmetrics-text,text/plain",
        "application/openmetrics-text, */*",
        "text/plain;q=0.5, application/openmetrics-text;q=0.6",
        "application/*",
        "*/*, text/plain;q=0.3",
    ],
)
def test_openmetrics_goes_to_who_asks_for_it(accept: str) -> None:
    assert wants_openmetrics(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        BROWSER,
        "text/plain",
        "text/plain;version=0.0.4",
        "text/plain, application/openmetrics-text;q=0.9",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=0, text/plain;q=0",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=2.0.0, text/plain;q=0.1",
        "application/openmetrics-text;q=nan",
        "application/openmetrics-text;q=7",
        "application/openmetrics-text;q=",
        "application/json",
        "text/*, application/openmetrics-text;q=0.2",
        ",;,=;q=1,",
    ],
)
def test_everybody_else_gets_the_text_format(accept: str) -> None:
    assert not wants_openmetrics(accept)


@pytest.mark.parametrize(
    "accept_encoding",
    [
        "gzip",
        "GZIP",
        "x-gzip",
        "deflate, gzip;q=0.1",
        "*",
        "br, *;q=0.2",
        "gzip;q=0.5, identity;q=0.5",
        "gzip ; q=1.0",
    ],
)
def test_gzip_goes_to_who_allows_it(accept_encoding: str) -> None:
    assert wants_gzip(accept_encoding)


@pytest.mark.parametrize(
    "accept_encoding",
    [
        "",
        "identity",
        "gzip;q=0",
        "gzip;q=0.000",
        "*, gzip;q=0",
        "*;q=0",
        "gzip;q=0.5, identity",
        "deflate, br",
        "gzip;q=x",
        "notgzip",
    ],
)
def test_everybody_else_gets_the_plain_bytes(accept_encoding: str) -> None:
    assert not wants_gzip(accept_encoding)


@given(st.text(alphabet=' ,;=*/q.01"gzipxt\t\x00é'))
def test_no_header_is_too_odd_to_be_answered(header: str) -> None:
    assert wants_openmetrics(header) in (True, False)
    assert wants_gzip(header) in (True, False)
