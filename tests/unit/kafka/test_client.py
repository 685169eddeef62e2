"""What becomes of librdkafka's clients, on an address where nobody listens."""

from __future__ import annotations

import gc
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator, Sized
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import trio

from klag_trio.domain.offsets import ClusterUnavailable, Fault, TopicPartition
from klag_trio.kafka.admin import KafkaAdmin
from klag_trio.kafka.client import Call, Client

pytestmark = pytest.mark.usefixtures("slow_close")

NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}
PARTITION = TopicPartition("orders", 0)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """A process that is quiet for long collects rarely."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def clients() -> int:
    """How many clients this process has: each has one main thread."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            names.append((task / "comm").read_text())
    return names.count("rdk:main\n")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for librdkafka's threads, which report nothing."""
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


def make_certificate(path: Path) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key")
    command = ["openssl", "req", "-x509", *key, "-subj", "/CN=nobody", "-out", path.name]
    subprocess.run(command, cwd=path.parent, check=True, capture_output=True)


async def test_calls_that_fail_keep_no_client_alive(no_collection: None) -> None:
    before = clients()
    client = await Client.open("nowhere", NOWHERE, threads=8, timeout=0.1)
    admin = KafkaAdmin(client, max_concurrent_groups=2, offset_fetch_timeout=0.1)
    for _ in range(2):
        # Groups whose coordinator does not answer in time cost the handle that asked for it.
        await admin.commits(["app", "other"])
        for ask in (admin.topics, admin.groups):
            with pytest.raises(ClusterUnavailable):
                await ask()
        # What comes as a future keeps its error, and the error the frames that it was raised through.
        for answers in (
            await admin.earliest([PARTITION]),
            await admin.latest([PARTITION]),
            await admin.cleanup_policies([PARTITION.topic]),
            await admin.topic_ids([PARTITION.topic]),
        ):
            assert isinstance(next(iter(answers.values())), Fault)
        # The one that is replaced ends in a thread of its own.
        await until(lambda: clients() == before + 2)
    assert await client.aclose()
    await until(lambda: clients() == before)


async def test_a_call_that_does_not_end_is_left_to_end_the_client(
    no_collection: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("klag_trio.kafka.client._DRAIN_SECONDS", 0.05)
    before = clients()
    client = await Client.open("nowhere", NOWHERE, threads=8, timeout=0.2)
    begun, may_end = threading.Event(), threading.Event()

    def hang(_: Call) -> None:
        begun.set()
        may_end.wait(60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.call, "topics", hang)
        await until(begun.is_set)
        nursery.cancel_scope.cancel()
    assert not await client.aclose()
    assert clients() > before
    may_end.set()
    await until(lambda: clients() == before)


async def test_a_client_is_made_anew_only_where_its_properties_still_hold(
    no_collection: None, tmp_path: Path
) -> None:
    certificate, away = tmp_path / "ca.pem", tmp_path / "away.pem"
    make_certificate(certificate)
    before = clients()
    properties = {**NOWHERE, "security.protocol": "SSL", "ssl.ca.location": str(certificate)}
    client = await Client.open("nowhere", properties, threads=8, timeout=60)
    await client.recycle()
    certificate.rename(away)
    with pytest.raises(ClusterUnavailable) as caught:
        await client.recycle()
    assert ("recycle", "_INVALID_ARG") == (caught.value.stage, caught.value.fault.code)
    del caught
    # The old one is still there, and still fails for no other reason than before.
    with pytest.raises(ClusterUnavailable) as unreachable:
        await client.call("topics", lambda call: call.admin.list_topics(timeout=call.remaining), within=0.2)
    assert "_TRANSPORT" == unreachable.value.fault.code
    away.rename(certificate)
    await client.recycle()
    assert await client.aclose()
    await until(lambda: clients() == before)


async def hang_up_after_the_first_bytes(stream: trio.SocketStream) -> None:
    """As a listener for TLS does without TLS."""
    await stream.receive_some(100)
    await stream.aclose()


@pytest.mark.parametrize(
    ("protocol", "hang_up", "code", "words"),
    [
        ("PLAINTEXT", trio.SocketStream.aclose, "_TRANSPORT", "Disconnected"),
        ("PLAINTEXT", hang_up_after_the_first_bytes, "_TRANSPORT", "Disconnected"),
        ("SSL", trio.SocketStream.aclose, "_SSL", "SSL"),
    ],
)
async def test_a_listener_that_hangs_up_is_told_of_with_its_address_whatever_was_asked_before(
    protocol: str, hang_up: Callable[[trio.SocketStream], Awaitable[None]], code: str, words: str
) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, hang_up, 0, host="127.0.0.1"))
        host, port = listeners[0].socket.getsockname()
        properties = {"bootstrap.servers": f"{host}:{port}", "security.protocol": protocol}
        client = await Client.open("hung-up", properties, threads=8, timeout=0.2)
        admin = KafkaAdmin(client, max_concurrent_groups=2, offset_fetch_timeout=0.1)
        fault = Fault("", "")
        with trio.fail_after(60):
            # On a busy machine the time for a question may be over before there is a connection.
            while words not in fault.message:
                assert isinstance((await admin.topic_ids(["orders"]))["orders"], Fault)
                with pytest.raises(ClusterUnavailable) as caught:
                    await admin.topics()
                fault = caught.value.fault
        assert code == fault.code
        assert f"{host}:{port}" in fault.message
        assert protocol == "SSL" or "does security.protocol fit the brokers' listener?" in fault.message
        assert await client.aclose()
        nursery.cancel_scope.cancel()


async def test_what_librdkafka_says_is_heard_while_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("klag_trio.kafka.client._HEARING_SECONDS", 0.05)
    client = await Client.open("nowhere", NOWHERE, threads=8, timeout=0.2)
    said = cast(Sized, await client.call("topics", lambda call: call.admin))
    await until(lambda: len(said) > 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.hear)
        await until(lambda: len(said) == 0)
        nursery.cancel_scope.cancel()
    assert await client.aclose()
