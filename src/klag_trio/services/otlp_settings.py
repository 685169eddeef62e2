"""How to reach the OpenTelemetry collector: the configuration's endpoint and the standard variables."""

from __future__ import annotations

import re
import socket
import ssl
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

import attrs

from klag_trio import __version__
from klag_trio.config import Exporter
from klag_trio.files import FileError, read_file

_DEFAULT_TIMEOUT = "10000"
_HEADER_NAME = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)")
_PORTS = {"http": 80, "https": 443}
_IGNORED = ("ENDPOINT", "INSECURE", "PROTOCOL")


class OtlpSettingsError(Exception):
    """What the environment asks for cannot be; a line for each reason, none of which shows a header."""


@attrs.frozen
class OtlpSettings:
    """How to reach the collector, checked, with its files read."""

    endpoint: str
    """As it is written in the configuration."""
    target: str
    """host:port."""
    tls: bool
    interval: float
    timeout: float
    """Seconds that one request may take."""
    gzip: bool
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    certificate: bytes | None = attrs.field(repr=False)
    """Of the authorities to trust, PEM; None for those that gRPC trusts."""
    client_certificate: bytes | None = attrs.field(repr=False)
    client_key: bytes | None = attrs.field(repr=False)
    resource: Mapping[str, str] = attrs.field(repr=False)
    """Attributes."""
    ignored: tuple[str, ...]
    """Variables that are set and have no effect."""


def read_settings(exporter: Exporter, environ: Mapping[str, str]) -> OtlpSettings:
    """Put the configuration and the standard OTEL_ variables together.

    The variables are those of OpenTelemetry's protocol exporter specification; OTEL_EXPORTER_OTLP_METRICS_X
    goes before OTEL_EXPORTER_OTLP_X.

    Raises:
        OtlpSettingsError: a variable is malformed, or names a file that cannot be used.

    """
    reader = _Reader(environ)
    url = urllib.parse.urlsplit(exporter.otel.endpoint)
    host = url.hostname or ""
    certificate = reader.file("CERTIFICATE")
    client_certificate, client_key = reader.file("CLIENT_CERTIFICATE"), reader.file("CLIENT_KEY")
    reader.check_certificates()
    settings = OtlpSettings(
        endpoint=exporter.otel.endpoint,
        target=f"{f'[{host}]' if ':' in host else host}:{url.port or _PORTS[url.scheme]}",
        tls=url.scheme == "https",
        interval=exporter.otel.export_interval,
        timeout=reader.timeout(),
        gzip=reader.gzip(),
        headers=reader.headers(),
        certificate=certificate,
        client_certificate=client_certificate,
        client_key=client_key,
        resource=reader.resource(exporter.http_port),
        ignored=reader.ignored(exporter.otel.endpoint),
    )
    if url.path not in {"", "/"} or url.query or url.fragment:
        reader.mistakes.append(
            f"exporter.otel.endpoint: OTLP over gRPC has no path: expected {url.scheme}://{url.netloc}"
        )
    if reader.mistakes:
        raise OtlpSettingsError("\n".join(reader.mistakes))
    return settings


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

    def file(self, name: str) -> bytes | None:
        variable, path = self._get(name)
        if not path:
            return None
        try:
            return read_file(Path(path))
        except FileError as error:
            self.mistakes.append(f"{variable}: cannot read {path}: {error}")
            return None

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
        try:
            milliseconds = int(text or _DEFAULT_TIMEOUT)
        except ValueError:
            milliseconds = 0
        if milliseconds <= 0:
            self.mistakes.append(f"{variable}: expected milliseconds, a whole number above 0, not {text!r}")
        return milliseconds / 1000

    def gzip(self) -> bool:
        variable, text = self._get("COMPRESSION")
        if text.lower() not in {"", "gzip", "none"}:
            self.mistakes.append(f'{variable}: expected "gzip" or "none", not {text!r}')
        return text.lower() != "none"

    def headers(self) -> tuple[tuple[str, str], ...]:
        variable, text = self._get("HEADERS")
        pairs = self._pairs(variable, text)
        found = []
        for number, (name, value) in enumerate(pairs, 1):
            lowered = name.lower()
            if not _HEADER_NAME.fullmatch(lowered):
                self.mistakes.append(f"{variable}: the name of header {number} is none that gRPC can send")
            elif not (value.isascii() and value.isprintable()):
                self.mistakes.append(f"{variable}: the value of {lowered} is not printable ASCII")
            found.append((lowered, value))
        return tuple(found)

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

    def ignored(self, endpoint: str) -> tuple[str, ...]:
        found = [self._get(name) for name in _IGNORED]
        return tuple(name for name, value in found if value and value not in {endpoint, "grpc"})

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
