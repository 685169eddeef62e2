"""How to reach the OpenTelemetry collector: the configuration and the standard variables, all checked here.

The SDK (1.45) reads the variables too, but warns and goes on, takes TIMEOUT for seconds, prints a malformed
header whole, and trusts the usual authorities where a file is missing. Some it reads even where it is handed
a value. So it is handed every value, and finds no variable.
"""

from __future__ import annotations

import re
import socket
import ssl
import urllib.parse
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Literal

import attrs

from klag_trio import __version__
from klag_trio.config import Exporter, Otel
from klag_trio.config.readers import is_http_url
from klag_trio.files import FileError, read_file

_DEFAULT_TIMEOUT = "10000"
_MILLISECONDS = re.compile(r"0*[1-9][0-9]{0,8}")
_SHORTEST_SECRET = 4
"""Characters. What is shorter stands in any text."""
_HEADER_NAME = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_HTTP_HEADER_NAME = re.compile(r"[0-9a-z!#$%&'*+.^_`|~-]+")
_DEFAULT_ENDPOINTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
_METRICS_PATH = "/v1/metrics"
_PORTS = {"http": 80, "https": 443}

Protocol = Literal["grpc", "http/protobuf"]


class OtlpSettingsError(Exception):
    """What the environment asks for cannot be; a line for each reason, none of which shows a header."""


@attrs.frozen
class OtlpSettings:
    """How to reach the collector, checked, with its files read."""

    protocol: Protocol
    endpoint: str
    """The whole URL; over gRPC it has no path."""
    tls: bool
    interval: float
    timeout: float
    """Seconds that one request may take."""
    gzip: bool
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    certificate: bytes | None = attrs.field(repr=False)
    """Of the authorities to trust, PEM; None for those that the library trusts."""
    client_certificate: bytes | None = attrs.field(repr=False)
    client_key: bytes | None = attrs.field(repr=False)
    certificate_file: str | None
    client_certificate_file: str | None
    client_key_file: str | None
    resource: Mapping[str, str] = attrs.field(repr=False)
    """Attributes."""
    ignored: tuple[str, ...]
    """Variables that are set and have no effect, since the configuration says otherwise."""

    @property
    def secrets(self) -> list[str]:
        """What no message may show, the longest first: values of headers, with and without a scheme."""
        values = [value for _, value in self.headers]
        words = [word for value in values for word in value.split()[-1:]]
        query = urllib.parse.urlsplit(self.endpoint).query
        secrets = {secret for secret in [*values, *words, query] if len(secret) >= _SHORTEST_SECRET}
        return sorted(secrets, key=len, reverse=True)

    @property
    def address(self) -> str:
        """The endpoint as it may be shown: a query may hold a token."""
        return urllib.parse.urlsplit(self.endpoint)._replace(query="", fragment="").geturl()


def read_settings(exporter: Exporter, environ: Mapping[str, str]) -> OtlpSettings:
    """Put the configuration and the standard OTEL_ variables together; the configuration goes first.

    The variables are those of OpenTelemetry's protocol exporter specification; OTEL_EXPORTER_OTLP_METRICS_X
    goes before OTEL_EXPORTER_OTLP_X.

    Raises:
        OtlpSettingsError: a variable is malformed, or names a file that cannot be used.

    """
    reader = _Reader(environ)
    protocol = reader.protocol(exporter.otel.protocol)
    endpoint = reader.endpoint(exporter.otel.endpoint, protocol)
    certificate, certificate_file = reader.file("CERTIFICATE")
    client_certificate, client_certificate_file = reader.file("CLIENT_CERTIFICATE")
    client_key, client_key_file = reader.file("CLIENT_KEY")
    reader.check_certificates()
    settings = OtlpSettings(
        protocol=protocol,
        endpoint=endpoint,
        tls=endpoint.startswith("https:"),
        interval=exporter.otel.export_interval,
        # A push that is not over when the next one is due is given up.
        timeout=min(reader.timeout(), exporter.otel.export_interval),
        gzip=reader.gzip(),
        headers=reader.headers(protocol),
        certificate=certificate,
        client_certificate=client_certificate,
        client_key=client_key,
        certificate_file=certificate_file,
        client_certificate_file=client_certificate_file,
        client_key_file=client_key_file,
        resource=reader.resource(exporter.http_port),
        ignored=reader.ignored(exporter.otel),
    )
    if reader.mistakes:
        raise OtlpSettingsError("\n".join(reader.mistakes))
    return settings


def hide_variables(environ: MutableMapping[str, str]) -> None:
    """Leave nothing that OpenTelemetry would read itself. To be called before there are threads."""
    for name in [name for name in environ if name.startswith("OTEL_")]:
        del environ[name]
    # gRPC's core would write to stderr what is told anyway.
    environ.setdefault("GRPC_VERBOSITY", "NONE")


class _Reader:
    """Reads the variables and gathers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.mistakes: list[str] = []

    def _get(self, name: str) -> tuple[str, str]:
        """The variable that holds, and its value; an empty one counts as not set."""
        for variable in (f"OTEL_EXPORTER_OTLP_METRICS_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            if value := self._environ.get(variable, "").strip():
                return variable, value
        return f"OTEL_EXPORTER_OTLP_{name}", ""

    def protocol(self, chosen: Protocol | None) -> Protocol:
        variable, text = self._get("PROTOCOL")
        if chosen is not None:
            return chosen
        if text in {"", "grpc"}:
            return "grpc"
        if text == "http/protobuf":
            return "http/protobuf"
        self.mistakes.append(f'{variable}: expected "grpc" or "http/protobuf", not {text!r}')
        return "grpc"

    def endpoint(self, chosen: str | None, protocol: Protocol) -> str:
        """The configuration's, else that of a variable; over HTTP one without a path gets the usual one.

        That of OTEL_EXPORTER_OTLP_ENDPOINT is for all signals: the path is added to its own.
        """
        variable, given = self._get("ENDPOINT")
        name, text = ("exporter.otel.endpoint", chosen) if chosen else (variable, given)
        text = text or _DEFAULT_ENDPOINTS[protocol]
        if not is_http_url(text):
            self.mistakes.append(
                f"{name}: expected a URL such as {_DEFAULT_ENDPOINTS[protocol]}, without user and password"
            )
            return _DEFAULT_ENDPOINTS[protocol]
        url = urllib.parse.urlsplit(text)
        if protocol == "grpc":
            # gRPC would take 443 for both.
            port = "" if url.port else f":{_PORTS[url.scheme]}"
            if url.path not in {"", "/"} or url.query or url.fragment:
                expected = f"{url.scheme}://{url.netloc}"
                self.mistakes.append(f"{name}: OTLP over gRPC has no path: expected {expected}")
            return f"{url.scheme}://{url.netloc.rstrip(':')}{port}"
        is_base = name == "OTEL_EXPORTER_OTLP_ENDPOINT"
        if is_base or url.path in {"", "/"}:
            url = url._replace(path=url.path.rstrip("/") + _METRICS_PATH)
        return url.geturl()

    def file(self, name: str) -> tuple[bytes | None, str | None]:
        variable, path = self._get(name)
        if not path:
            return None, None
        try:
            return read_file(Path(path)), path
        except FileError as error:
            self.mistakes.append(f"{variable}: cannot read {path}: {error}")
            return None, path

    def check_certificates(self) -> None:
        if self.mistakes:
            return
        (trusted, authorities), (own, chain) = self._get("CERTIFICATE"), self._get("CLIENT_CERTIFICATE")
        key_variable, key = self._get("CLIENT_KEY")
        context = ssl.create_default_context()
        if authorities:
            try:
                context.load_verify_locations(authorities)
            except ssl.SSLError:
                self.mistakes.append(f"{trusted}: {authorities} holds no certificate in PEM form")
        if bool(chain) != bool(key):
            given, missing = (own, key_variable) if chain else (key_variable, own)
            self.mistakes.append(f"{given} is set and {missing} is not: set both or neither")
        elif chain:
            try:
                # The empty password keeps OpenSSL from asking for one on the terminal.
                context.load_cert_chain(chain, key, password="")
            except ssl.SSLError:
                self.mistakes.append(
                    f"{own}, {key_variable}: {chain} and {key} are no certificate and its key, "
                    "in PEM form and without a password"
                )

    def timeout(self) -> float:
        variable, text = self._get("TIMEOUT")
        text = text or _DEFAULT_TIMEOUT
        if not _MILLISECONDS.fullmatch(text):
            self.mistakes.append(
                f"{variable}: expected milliseconds, a whole number from 1 to 999999999, not {text[:40]!r}"
            )
            return 1.0
        return int(text) / 1000

    def gzip(self) -> bool:
        variable, text = self._get("COMPRESSION")
        if text.lower() not in {"", "gzip", "none"}:
            self.mistakes.append(f'{variable}: expected "gzip" or "none", not {text!r}')
        return text.lower() != "none"

    def headers(self, protocol: Protocol) -> tuple[tuple[str, str], ...]:
        variable, text = self._get("HEADERS")
        usable = _HEADER_NAME if protocol == "grpc" else _HTTP_HEADER_NAME
        pairs = self._pairs(variable, text)
        found = {}
        for number, (name, value) in enumerate(pairs, 1):
            lowered = name.lower()
            if not usable.fullmatch(lowered):
                over = "gRPC" if protocol == "grpc" else "HTTP"
                self.mistakes.append(f"{variable}: the name of header {number} is none that {over} can send")
            elif not (value.isascii() and value.isprintable()):
                self.mistakes.append(f"{variable}: the value of {lowered} is not printable ASCII")
            elif value != value.strip():
                self.mistakes.append(f"{variable}: the value of {lowered} begins or ends with a space")
            found[lowered] = value
        return tuple(found.items())

    def resource(self, port: int) -> dict[str, str]:
        ours = {
            "service.name": "klag-trio",
            "service.version": __version__,
            # As Prometheus would call this target: the same after a restart, another on each host.
            "service.instance.id": f"{socket.gethostname()}:{port}",
        }
        name = "OTEL_RESOURCE_ATTRIBUTES"
        theirs = dict(self._pairs(name, self._environ.get(name, "")))
        if service := self._environ.get("OTEL_SERVICE_NAME", "").strip():
            theirs["service.name"] = service
        return {**ours, **theirs}

    def ignored(self, chosen: Otel) -> tuple[str, ...]:
        # The scheme of the endpoint says whether TLS is used.
        ours = {"ENDPOINT": chosen.endpoint, "PROTOCOL": chosen.protocol, "INSECURE": "by the scheme"}
        set_here = [(self._get(name), value) for name, value in ours.items() if value]
        return tuple(name for (name, text), value in set_here if text and text != value)

    def _pairs(self, variable: str, text: str) -> list[tuple[str, str]]:
        """`name=value,name=value`, with % escapes in the values."""
        pairs = []
        for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), 1):
            name, equals, value = entry.partition("=")
            if not (equals and name.strip()):
                self.mistakes.append(f"{variable}: entry {number} is not name=value")
                continue
            pairs.append((urllib.parse.unquote(name.strip()), urllib.parse.unquote(value.strip())))
        return pairs
