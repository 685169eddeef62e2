"""What befalls the way to the brokers: the network, their name, their certificate, the login."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from tests.faults.estate import KAFKA_TIMEOUT, TARGET, Estate, Way
from tests.faults.meanwhile import meanwhile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.estate import Begin
    from tests.faults.observed import Moment, Observed


def network(
    way: Way, *, delay: float = 0.0, bytes_per_second: float = float("inf"), refusing: bool = False
) -> Begin:
    @contextmanager
    def begin(estate: Estate, _: Observed | None) -> Iterator[None]:
        proxies = estate.proxies[way]
        usual = attrs.evolve(proxies.network)
        network = proxies.network
        network.delay, network.bytes_per_second, network.refusing = delay, bytes_per_second, refusing
        if refusing:
            proxies.cut()
        try:
            yield
        finally:
            network.delay, network.bytes_per_second = usual.delay, usual.bytes_per_second
            network.refusing = usual.refusing

    return begin


def cycles_overran(moments: Sequence[Moment], begun: float) -> None:
    counts = [moment.page.value("klag_cycles_overrun_total", cluster_name=TARGET) for moment in moments]
    assert (counts[-1] or 0) > (counts[0] or 0)


@contextmanager
def name_unknown(estate: Estate, _: Observed | None) -> Iterator[None]:
    estate.resolve(known=False)
    # What is connected needs no name.
    estate.proxies[Way.NAMED].cut()
    try:
        yield
    finally:
        estate.resolve(known=True)


@contextmanager
def impostor(estate: Estate, _: Observed | None) -> Iterator[None]:
    proxies = estate.proxies[Way.SECURE]
    with _with_a_certificate_of_its_own(estate.folder) as port:
        usual, proxies.targets = proxies.targets, [port] * len(proxies.targets)
        proxies.cut()
        try:
            yield
        finally:
            proxies.targets = usual
            proxies.cut()


@contextmanager
def _with_a_certificate_of_its_own(folder: Path) -> Iterator[int]:
    """A server that shakes hands by a certificate that no client of the brokers trusts; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "impostor.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def serve(stopping: threading.Event) -> None:
            while not stopping.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                connection.settimeout(KAFKA_TIMEOUT)
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()  # the client has seen what it got

        with meanwhile(serve):
            yield server.getsockname()[1]


@contextmanager
def revoked(estate: Estate, _: Observed | None) -> Iterator[None]:
    estate.allow(login=False)
    try:
        yield
    finally:
        estate.allow(login=True)
