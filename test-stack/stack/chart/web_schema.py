"""The schema of the web config file among the chart's values, made from klag-trio's own rules."""

from __future__ import annotations

import re
from typing import get_args

from klag_trio.config.web import BCRYPT, CIPHER_SUITES, CURVES, HEADERS, ClientAuth, Version

from .config_schema import BOOLEAN, array, choice, names, table, text

_PEM = text("-----BEGIN ")
# What belongs into the file may have been written in its place.
_PATH = text(r"^[^\x00-\x1f]*$") | {"maxLength": 1024, "not": {"type": "string", "pattern": "-----BEGIN"}}
# Of what is not printable only what is in ASCII and Latin-1; the rest klag-trio itself refuses.
_USER = r"^[^:\x00-\x1f\x7f-\xa0\xad]+$"


def _whole(pattern: re.Pattern[str]) -> str:
    flag = "i" if pattern.flags & re.IGNORECASE else ""
    return f"(?{flag}:{pattern.pattern})"


_TLS = table(
    {
        "cert": _PEM,
        "key": _PEM,
        "client_ca": _PEM,
        "cert_file": _PATH,
        "key_file": _PATH,
        "client_ca_file": _PATH,
        "client_auth_type": choice("", *get_args(ClientAuth)),
        "client_allowed_sans": array({"type": "string", "minLength": 1}),
        "min_version": choice(*get_args(Version)),
        "max_version": choice(*get_args(Version)),
        "cipher_suites": array(choice(*CIPHER_SUITES)),
        "prefer_server_cipher_suites": BOOLEAN,
        "curve_preferences": array(choice(*CURVES)) | {"maxItems": 1},
    }
)
_HTTP = table(
    {
        "http2": BOOLEAN,
        "headers": table({name: text(f"^{_whole(pattern)}?$") for name, pattern in HEADERS.items()}),
    }
)
WEB_CONFIG = table(
    {
        "tls_server_config": _TLS,
        "http_server_config": _HTTP,
        "basic_auth_users": names(_USER, (), text(f"^{_whole(BCRYPT)}$")),
    }
)
