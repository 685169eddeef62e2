"""The web config file: TLS and basic auth, in the convention of Prometheus's exporter-toolkit.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md has the keys. Where
Python's ssl module cannot do what a key asks for, that is an error that says so.
"""

# option() and table() declare fields, as attrs.field does.
# ruff: noqa: RUF009

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import attrs
from cattrs.errors import AttributeValidationNote

from .errors import ConfigError, Problem, WrongValueError
from .load import structure
from .readers import array_of, boolean, choice, optional, string
from .schema import key as option
from .schema import table
from .written import Node, describe

# Go's names (crypto/tls.CipherSuites) to OpenSSL's. Those of TLS 1.3 cannot be chosen, there or here.
CIPHER_SUITES: Mapping[str, str | None] = MappingProxyType(
    {
        "TLS_AES_128_GCM_SHA256": None,
        "TLS_AES_256_GCM_SHA384": None,
        "TLS_CHACHA20_POLY1305_SHA256": None,
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    }
)
CURVES: Mapping[str, str] = MappingProxyType(
    {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
)
HEADERS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "Content-Security-Policy": re.compile(r"[\x20-\x7e]+"),
        "X-Frame-Options": re.compile("deny|sameorigin", re.IGNORECASE),
        "X-Content-Type-Options": re.compile("nosniff", re.IGNORECASE),
        "X-XSS-Protection": re.compile(r"[\x20-\x7e]+"),
        "Strict-Transport-Security": re.compile(r"[\x20-\x7e]+"),
    }
)
# The last character of the salt has bits to spare, which are 0. A cost of 18 takes a quarter of a minute.
BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|1[0-8])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_PATH = re.compile(r"[^\x00-\x1f]{1,1024}")
_PEM = "PEM text: -----BEGIN ..."

ClientAuth = Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]
_CLIENT_AUTH: tuple[ClientAuth, ...] = (
    "NoClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
)


def _path(node: Node) -> str:
    value = string(node, expected := "the path of a file")
    if not _PATH.fullmatch(value) or "-----BEGIN" in value:
        # What belongs into the file may have been written in its place.
        raise WrongValueError(f"expected {expected}")
    return value


def _pem(node: Node) -> str:
    try:
        value = string(node, f"{_PEM}")
    except WrongValueError as exc:
        raise WrongValueError(exc.message) from None
    if "-----BEGIN " not in value:
        raise WrongValueError(f"expected {_PEM}")
    return value


Version = Literal["TLS12", "TLS13"]
_VERSIONS: tuple[Version, ...] = ("TLS12", "TLS13")


def _version(node: Node) -> Version:
    value = string(node, expected := '"TLS12" or "TLS13"')
    if value in ("TLS10", "TLS11"):
        raise WrongValueError(f"expected {expected}: versions before are broken and not offered", value)
    return choice(*_VERSIONS)(node)


def _text(node: Node) -> str:
    value = string(node, "a string that is not empty")
    if not value:
        raise WrongValueError("expected a string that is not empty", describe(node))
    return value


def _curves(node: Node) -> tuple[str, ...]:
    curves = array_of(choice(*CURVES), "a list of curves")(node)
    if len(curves) > 1:
        raise WrongValueError("expected one curve: Python cannot be given several")
    return curves


def _headers(node: Node) -> Mapping[str, str]:
    if not isinstance(node, dict):
        raise WrongValueError("expected a table of headers", describe(node))
    mistakes, headers = [], {}
    for name, item in node.items():
        pattern = HEADERS.get(name)
        if pattern is None:
            mistakes.append(mistake_at(name, f"unknown header (known here: {', '.join(HEADERS)})"))
            continue
        try:
            value = string(item, expected := "another value for this header")
            if value and not pattern.fullmatch(value):
                raise WrongValueError(f"expected {expected}", describe(item))
        except WrongValueError as exc:
            mistakes.append(mistake_at(name, exc.message, exc.found))
        else:
            headers[name] = value
    if mistakes:
        raise ExceptionGroup("headers", mistakes)
    return MappingProxyType({name: value for name, value in headers.items() if value})


def _users(node: Node) -> Mapping[str, str]:
    if not isinstance(node, dict):
        raise WrongValueError("expected a table of user names and bcrypt hashes")
    mistakes, users = [], {}
    for name, item in node.items():
        # A colon ends the name in what a browser or Prometheus sends.
        if not name or ":" in name or not name.isprintable():
            mistakes.append(
                mistake_at(name, "expected a user name: not empty, no colon, nothing unprintable")
            )
            continue
        value = getattr(item, "value", None)
        if not isinstance(value, str) or not BCRYPT.fullmatch(value):
            # Without what was found: it may be the password itself.
            expected = "a bcrypt hash, as `htpasswd -nBC 10 NAME` prints it ($2y$10$...), of a cost up to 18"
            mistakes.append(mistake_at(name, f"expected {expected}"))
            continue
        users[name] = value
    if mistakes:
        raise ExceptionGroup("basic_auth_users", mistakes)
    return MappingProxyType(users)


def _refused(why: str) -> object:
    def read(_: Node) -> None:
        raise WrongValueError(why)

    return attrs.field(default=None, metadata={"read": read, "default": None, "doc": why})


@attrs.frozen(kw_only=True)
class TlsServer:
    """Certificates and what is asked of clients."""

    cert: str | None = attrs.field(
        default=None, repr=False, metadata={"read": _pem, "doc": "the certificate itself, with its chain"}
    )
    key: str | None = attrs.field(
        default=None, repr=False, metadata={"read": _pem, "doc": "its private key itself"}
    )
    client_ca: str | None = attrs.field(
        default=None, repr=False, metadata={"read": _pem, "doc": "the certificates that sign clients'"}
    )
    cert_file: str | None = option(optional(_path), None, "a file with the certificate and its chain, PEM")
    key_file: str | None = option(optional(_path), None, "a file with its private key, PEM, not encrypted")
    client_ca_file: str | None = option(
        optional(_path), None, "a file with the certificates that sign clients', PEM"
    )
    client_auth_type: ClientAuth | None = option(
        optional(choice(*_CLIENT_AUTH)), None, "whether clients need a certificate; NoClientCert if not given"
    )
    client_allowed_sans: tuple[str, ...] = option(
        array_of(_text, "a list of names"), [], "names of which a client's certificate must carry one"
    )
    min_version: Version = option(_version, "TLS12", "the oldest version")
    max_version: Version = option(_version, "TLS13", "the newest version")
    cipher_suites: tuple[str, ...] = option(
        array_of(choice(*CIPHER_SUITES), "a list of cipher suites"), [], "those of TLS 1.2, in Go's names"
    )
    prefer_server_cipher_suites: bool = option(boolean, True, "whether our order of them goes")
    curve_preferences: tuple[str, ...] = option(_curves, [], "the one curve to be used")

    @property
    def enabled(self) -> bool:
        """Whether TLS is spoken."""
        return any((self.cert, self.key, self.client_ca, self.cert_file, self.key_file)) or any(
            (self.client_ca_file, self.client_auth_type)
        )


@attrs.frozen(kw_only=True)
class HttpServer:
    """What is said in HTTP."""

    http2: bool = option(boolean, True, "accepted, without effect: klag-trio speaks HTTP/1.1")
    headers: Mapping[str, str] = option(_headers, {}, "headers of every answer")


@attrs.frozen(kw_only=True)
class WebConfig:
    """A web config file without a mistake in it; paths are absolute or relative to the working directory."""

    tls_server_config: TlsServer = table(TlsServer, "TLS")
    http_server_config: HttpServer = table(HttpServer, "HTTP")
    basic_auth_users: Mapping[str, str] = attrs.field(
        factory=dict,
        repr=False,
        metadata={"read": _users, "doc": "users and the bcrypt hashes of their passwords"},
    )
    rate_limit: object = _refused("is not supported, since a scrape costs next to nothing: remove it")


def load_web_config(text: str, folder: Path) -> WebConfig:
    """Parse and check a web config file; paths in it are relative to `folder`, where it is.

    Raises ConfigError with all mistakes.
    """
    # Only here: nobody pays for a YAML parser who has no such file.
    from .yaml_nodes import parse_yaml

    config = structure(parse_yaml(text), WebConfig)
    tls = config.tls_server_config
    if problems := list(_contradictions(tls)):
        raise ConfigError(problems)

    def absolute(path: str | None) -> str | None:
        return None if path is None else str(folder / path)

    tls = attrs.evolve(
        tls,
        cert_file=absolute(tls.cert_file),
        key_file=absolute(tls.key_file),
        client_ca_file=absolute(tls.client_ca_file),
    )
    return attrs.evolve(config, tls_server_config=tls)


def _contradictions(tls: TlsServer) -> Iterator[Problem]:
    def problem(name: str, message: str, found: str | None = None) -> Problem:
        return Problem(f"tls_server_config.{name}", message, found)

    for name in ("cert", "key", "client_ca"):
        if getattr(tls, name) and getattr(tls, f"{name}_file"):
            yield problem(name, f"expected this or {name}_file, not both")
    if tls.enabled:
        if not (tls.cert or tls.cert_file):
            yield problem("cert_file", "is required for TLS")
        if not (tls.key or tls.key_file):
            yield problem("key_file", "is required for TLS")
    kind = tls.client_auth_type or "NoClientCert"
    asks = kind != "NoClientCert"
    if asks and not (tls.client_ca or tls.client_ca_file):
        yield problem("client_ca_file", f"is required for client_auth_type {kind}")
    if not asks and (tls.client_ca or tls.client_ca_file):
        yield problem(
            "client_auth_type",
            "expected RequireAndVerifyClientCert or VerifyClientCertIfGiven beside client_ca_file: "
            "no client would be asked for a certificate",
        )
    if tls.client_allowed_sans and kind != "RequireAndVerifyClientCert":
        yield problem("client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert")
    if tls.min_version > tls.max_version:
        yield problem("min_version", "expected no newer version than max_version", tls.min_version)


def mistake_at(name: str, message: str, found: str | None = None) -> WrongValueError:
    """Say what is wrong with one key of a table that is read as a whole."""
    mistake = WrongValueError(message, found)
    mistake.add_note(AttributeValidationNote("", name, object))
    return mistake
