"""Certificates that tests make for themselves, and clients that show them."""

from __future__ import annotations

import ssl
from pathlib import Path

import attrs
import trio
import trustme
from tests.unit.services.raw_http import Address, Client, connect

HOST = "127.0.0.1"


@attrs.frozen
class Authority:
    """A CA that signs for servers and clients."""

    ca: trustme.CA = attrs.field(factory=trustme.CA)

    def write_server(self, folder: Path) -> tuple[Path, Path]:
        """Make a new certificate for a server; returns the files of it and its key."""
        issued = self.ca.issue_cert(HOST)
        return self._write(issued, folder, "server")

    def write_client(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """Make a new certificate for a client of these names; returns the files of it and its key."""
        return self._write(self.ca.issue_cert(*names), folder, "client")

    def pem(self) -> str:
        return self.ca.cert_pem.bytes().decode()

    def _write(self, issued: trustme.LeafCert, folder: Path, what: str) -> tuple[Path, Path]:
        cert, key = folder / f"{what}.crt", folder / f"{what}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return cert, key


def client_context(trusted: Authority, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """What a client needs that trusts this authority and shows this certificate."""
    # The system's own authorities would take more time to load than a handshake.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.ca.configure_trust(context)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


async def connect_tls(
    address: Address, context: ssl.SSLContext, *, receive_buffer: int | None = None
) -> Client[trio.SSLStream[trio.SocketStream]]:
    """Shake hands. In TLS 1.3 only the first read shows what the server thinks of the certificate."""
    tcp = await connect(address, receive_buffer=receive_buffer)
    stream = trio.SSLStream(tcp.stream, context, server_hostname=HOST)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return Client(stream)


async def ask_tls(address: Address, context: ssl.SSLContext, data: bytes) -> tuple[int, bytes]:
    """Status and body of one answer, on a connection of its own."""
    client = await connect_tls(address, context)
    try:
        await client.send(data)
        answer = await client.answer()
    finally:
        await trio.aclose_forcefully(client.stream)
    return answer.status, answer.body
