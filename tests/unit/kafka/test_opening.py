"""Clients that are made while a file of theirs hangs, or where the system starts no thread."""

from __future__ import annotations

import faulthandler
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import NoReturn
from unittest.mock import patch

import pytest
import trio
from tests.broker.waiting import wait_until
from tests.unit.kafka.hanging import HangingFile, ended
from tests.unit.kafka.test_client import NOWHERE, clients, make_certificate, until

from klag_trio.domain.offsets import ClusterUnavailable
from klag_trio.kafka.client import Call, Client
from klag_trio.kafka.coordinators import Coordinators

__all__ = ["ended"]

pytestmark = pytest.mark.usefixtures("slow_close")

CONFIDENT = 60.0
"""Seconds that nothing here takes."""


@pytest.fixture(autouse=True)
def no_freeze() -> Iterator[None]:
    """Who freezes the interpreter freezes pytest's timeout with it."""
    before = clients()
    faulthandler.dump_traceback_later(2 * CONFIDENT, exit=True)
    yield
    # What came late may still be about to end, and other tests count clients too.
    wait_until(lambda: clients() == before, "no client is left")
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def certificate(tmp_path: Path) -> bytes:
    path = tmp_path / "real.pem"
    make_certificate(path)
    return path.read_bytes()


def trusting(path: Path) -> dict[str, str]:
    return {**NOWHERE, "security.protocol": "SSL", "ssl.ca.location": str(path)}


def put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


@asynccontextmanager
async def opened(path: Path, certificate: bytes, *, seconds: float) -> AsyncIterator[Client]:
    """A client whose CA bundle was there when it was made, and is gone since."""
    put(path, certificate)
    client = await Client.open("nowhere", trusting(path), threads=8, timeout=seconds)
    put(path, None)
    try:
        yield client
    finally:
        assert await client.aclose()


async def fault_of_recycling(client: Client) -> tuple[str, str, str]:
    with pytest.raises(ClusterUnavailable) as caught:
        await client.recycle()
    return caught.value.stage, caught.value.fault.code, caught.value.fault.message


def spend(call: Call) -> Coordinators:
    call.coordinators.spent = True
    return call.coordinators


def coordinators_of(call: Call) -> Coordinators:
    return call.coordinators


async def test_a_client_that_nobody_waits_for_any_more_ends_when_its_file_has_been_read(
    tmp_path: Path, certificate: bytes, ended: list[Coordinators]
) -> None:
    before = clients()
    file = HangingFile(tmp_path / "ca.pem")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(Client.open, "nowhere", trusting(file.path), threads=8, timeout=CONFIDENT))
        await file.until_read()
        nursery.cancel_scope.cancel()
    assert [] == ended
    file.finish(certificate)
    await until(lambda: len(ended) == 1)
    await until(lambda: clients() == before)


async def test_a_client_whose_file_is_read_in_the_end_is_there(tmp_path: Path, certificate: bytes) -> None:
    file = HangingFile(tmp_path / "ca.pem")
    made: list[Client] = []

    async def make() -> None:
        made.append(await Client.open("nowhere", trusting(file.path), threads=8, timeout=0.1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make)
        await file.until_read()
        assert [] == made
        file.finish(certificate)
    (client,) = made
    assert isinstance(await client.call("topics", coordinators_of), Coordinators)
    assert await client.aclose()


async def test_recycling_that_waits_for_a_file_leaves_the_old_client_at_work(
    tmp_path: Path, certificate: bytes, ended: list[Coordinators]
) -> None:
    before = clients()
    path = tmp_path / "ca.pem"
    async with opened(path, certificate, seconds=CONFIDENT) as client:
        file = HangingFile(path)
        old = await client.call("topics", coordinators_of)
        for _ in range(2):
            with patch.object(client, "_timeout", 0.2):
                stage, code, message = await fault_of_recycling(client)
            assert ("recycle", "_TIMED_OUT") == (stage, code)
            assert "ssl.ca.location" in message
            assert str(path) not in message
        assert old is await client.call("topics", coordinators_of)
        await file.until_read()
        file.finish(certificate)
        # What came too late is ended, and the next is made of the file as it is then.
        await until(lambda: len(ended) == 1)
        put(path, None)
        put(path, certificate)
        await client.recycle()
        assert old is not await client.call("topics", coordinators_of)
        del old
    await until(lambda: clients() == before)


async def test_a_call_ends_in_time_while_its_new_handle_waits_for_a_file(
    tmp_path: Path, certificate: bytes, ended: list[Coordinators]
) -> None:
    path = tmp_path / "ca.pem"
    async with opened(path, certificate, seconds=CONFIDENT) as client:
        await client.call("committed", spend)
        file = HangingFile(path)
        with trio.fail_after(CONFIDENT / 2), pytest.raises(ClusterUnavailable) as caught:
            await client.call("committed", coordinators_of, within=0.2)
        assert ("committed", "_TIMED_OUT") == (caught.value.stage, caught.value.fault.code)
        assert "ssl.ca.location" in caught.value.fault.message
        await file.until_read()
        file.finish(certificate)
        await until(lambda: len(ended) == 1)


async def test_calls_that_want_a_new_handle_at_once_get_the_same(tmp_path: Path, certificate: bytes) -> None:
    before = clients()
    path = tmp_path / "ca.pem"
    async with opened(path, certificate, seconds=CONFIDENT) as client:
        old = await client.call("committed", spend)
        file = HangingFile(path)
        found: list[Coordinators] = []

        async def ask() -> None:
            found.append(await client.call("committed", coordinators_of))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await file.until_read()
            file.finish(certificate)
        assert 3 == len(found)
        assert [found[0]] * 3 == found
        assert old is not found[0]
        del old
        found.clear()
        await until(lambda: clients() == before + 2)
    await until(lambda: clients() == before)


def no_thread(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("can't start new thread")


async def test_where_no_thread_starts_a_call_fails_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    client = await Client.open("nowhere", NOWHERE, threads=8, timeout=0.2)
    with monkeypatch.context() as patch:
        patch.setattr(trio.to_thread, "run_sync", no_thread)
        patch.setattr(trio.lowlevel, "start_thread_soon", no_thread)
        for ask in (partial(client.call, "topics", coordinators_of), client.recycle):
            with pytest.raises(ClusterUnavailable) as caught:
                await ask()
            assert "_CRIT_SYS_RESOURCE" == caught.value.fault.code
            assert "ulimit -u" in caught.value.fault.message
    assert isinstance(await client.call("topics", coordinators_of), Coordinators)
    assert await client.aclose()


async def test_a_handle_ends_where_no_thread_starts_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    before = clients()
    handle = Coordinators(NOWHERE)
    assert clients() == before + 1
    monkeypatch.setattr(Thread, "start", no_thread)
    del handle
    await until(lambda: clients() == before)
