"""TLS: from a web config to what Python's ssl module takes, and the handshake with a client."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any

import trio

from klag_trio.config import ConfigError, Problem
from klag_trio.config.web import CIPHER_SUITES, CURVES, TlsServer
from klag_trio.files import load_cert_chain

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
"""A client's."""

_SPEAK_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 49\r\n"
    b"Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\r\n"
)
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
# Forward secrecy and authenticated encryption: what Go offers of TLS 1.2 to those who choose nothing.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def make_context(tls: TlsServer, files: Mapping[str, bytes]) -> ssl.SSLContext:
    """Make a context of its own, since CAs can only be added to one that is there.

    `files` holds the bytes of each file that is named, by its key.

    Raises:
        ConfigError: what is given cannot be used; it names the key.
        FileError: the system has no memory or no descriptor for the certificate.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    # Scrapers keep their connections: a ticket to resume a session only costs, and outlives what it checked.
    context.num_tickets = 0
    context.set_ciphers(_CIPHERS)
    if tls.cipher_suites:
        chosen = [name for suite in tls.cipher_suites if (name := CIPHER_SUITES[suite]) is not None]
        if chosen:
            context.set_ciphers(":".join(chosen))
        elif tls.max_version == "TLS12":
            raise _wrong("cipher_suites", "expected one of TLS 1.2 beside max_version TLS12")
        else:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    for curve in tls.curve_preferences:
        context.set_ecdh_curve(CURVES[curve])
    _load_certificate(context, tls, files)
    context.verify_mode = _VERIFY[tls.client_auth_type or "NoClientCert"]
    if context.verify_mode != ssl.CERT_NONE:
        _load_client_ca(context, tls, files)
    return context


def _load_certificate(context: ssl.SSLContext, tls: TlsServer, files: Mapping[str, bytes]) -> None:
    cert_name, cert = _given("cert", tls, files)
    key_name, key = _given("key", tls, files)
    if b"-----BEGIN CERTIFICATE-----" not in cert and b"-----BEGIN X509 CERTIFICATE-----" not in cert:
        raise _wrong(cert_name, "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")
    if b"PRIVATE KEY-----" not in key:
        raise _wrong(key_name, "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)")

    def no_password() -> str:
        raise _wrong(key_name, "holds a key that needs a passphrase: klag-trio has none to give")

    # Just what was read, whatever is replaced meanwhile.
    try:
        load_cert_chain(context, cert, key, no_password)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise _wrong(key_name, f"does not belong to the certificate in {cert_name}") from None
        raise _wrong(cert_name, f"cannot be used with {key_name}: {_reason(exc)}") from None


def _load_client_ca(context: ssl.SSLContext, tls: TlsServer, files: Mapping[str, bytes]) -> None:
    name, pem = _given("client_ca", tls, files)
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as exc:
        raise _wrong(name, f"holds no certificates in PEM: {_reason(exc)}") from None
    # As in Go: each certificate of the file is trusted for itself, whoever signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _given(name: str, tls: TlsServer, files: Mapping[str, bytes]) -> tuple[str, bytes]:
    written: str | None = getattr(tls, name)
    if written is not None:
        return name, written.encode()
    return f"{name}_file", files[f"{name}_file"]


def _reason(exc: ssl.SSLError | UnicodeDecodeError) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return "it is no text"
    # OpenSSL's name for it: a constant, with nothing of the file in it.
    return exc.reason.lower().replace("_", " ") if exc.reason else "it cannot be read"


def _wrong(name: str, message: str) -> ConfigError:
    return ConfigError([Problem(f"tls_server_config.{name}", message)])


def names_of(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """The subject alternative names of a client's certificate, as `getpeercert()` gives it."""
    names = (certificate or {}).get("subjectAltName", ())
    return frozenset(_plain_name(kind, name) for kind, name in names)


def _plain_name(kind: str, name: str) -> str:
    if kind != "IP Address":
        return name
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(name.strip()))
    return name


def secured(stream: trio.SocketStream, context: ssl.SSLContext | None) -> Stream:
    """The stream, in TLS where there is a context."""
    return stream if context is None else trio.SSLStream(stream, context, server_side=True)


def transport_of(stream: Stream) -> trio.SocketStream:
    """The TCP stream, below TLS or itself."""
    return stream.transport_stream if isinstance(stream, trio.SSLStream) else stream


async def handshake(stream: Stream, allowed_sans: frozenset[str]) -> str | None:
    """Do the TLS handshake, if there is one; returns why the client is refused, None where it is not."""
    if not isinstance(stream, trio.SSLStream):
        return None
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__
        reason = cause.reason if isinstance(cause, ssl.SSLError) and cause.reason else "unknown"
        if reason == "HTTP_REQUEST":
            await stream.transport_stream.send_all(_SPEAK_TLS)
        return reason.lower().replace("_", " ")
    if not allowed_sans or allowed_sans & names_of(stream.getpeercert()):
        return None
    return "its certificate has none of the names in client_allowed_sans"
