"""What is made of a broker that hangs up without a word."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from klag_trio.domain.offsets import ClusterUnavailable
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def hanging_up() -> Iterator[str]:
    """A listener that ends each connection after the first bytes, as one for TLS does without TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


async def test_a_listener_that_hangs_up_is_asked_about_with_its_address() -> None:
    with hanging_up() as address:
        client = Client("main", {"bootstrap.servers": address}, threads=2, timeout=2)
        admin = KafkaAdmin(client, max_concurrent_groups=1, offset_fetch_timeout=2)
        with pytest.raises(ClusterUnavailable) as raised:
            await admin.topics()
        assert await client.aclose()
    assert "_TRANSPORT" == raised.value.fault.code
    for words in (address, "Disconnected", "does security.protocol fit the brokers' listener?"):
        assert words in raised.value.fault.message
