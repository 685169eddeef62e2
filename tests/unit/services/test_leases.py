"""The adapter against an API server that answers anything; a real one is in tests/kubernetes."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import attrs
import pytest
import trio

from klag_trio.domain.lease import Candidate, claim
from klag_trio.kubernetes.access import Access, AccessError
from klag_trio.kubernetes.leases import KubernetesLeases, LeaseConflict, LeaseUnavailable

ME = Candidate("pod-1", "process-1", 15, 5)
WALL = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
STORED = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "l", "namespace": "n", "resourceVersion": "7", "labels": {"team": "x"}},
    "spec": {"holderIdentity": "pod-2", "leaseDurationSeconds": 15, "leaseTransitions": 3, "strategy": None},
}


@attrs.define
class Server:
    """Answers each request with the next of its answers, for ever with the last."""

    answers: list[bytes]
    port: int = 0
    requests: list[bytes] = attrs.field(factory=list)
    connections: int = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        async with stream:
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    try:
                        more = await stream.receive_some(65536)
                    except trio.BrokenResourceError:
                        return
                    if not more:
                        return
                    buffer += more
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if b"content-length:" in line), 0
                )
                while len(buffer) < length:
                    buffer += await stream.receive_some(65536)
                self.requests.append(head + b"\r\n\r\n" + buffer[:length])
                buffer = buffer[length:]
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer == b"":
                    await trio.sleep_forever()
                await stream.send_all(answer)


def answer(status: str, body: object, *headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""])
    return head.encode() + content


@asynccontextmanager
async def leases(
    *answers: bytes,
    token: str = "t",  # noqa: S107
) -> AsyncIterator[tuple[Server, KubernetesLeases]]:
    server = Server(list(answers))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, server.serve, 0)
        server.port = listeners[0].socket.getsockname()[1]

        def give_token() -> str:
            if token == "none":
                raise AccessError("/token: cannot be read: Permission denied")
            return f"{token}-{len(server.requests)}"

        # The system's own would take longer to load than a test.
        no_authorities = partial(ssl.SSLContext, ssl.PROTOCOL_TLS_CLIENT)
        access = Access(f"http://127.0.0.1:{server.port}", "a test", no_authorities, give_token)
        made = KubernetesLeases(access, namespace="n", name="l")
        yield server, made
        await made.aclose()
        nursery.cancel_scope.cancel()


async def test_a_lease_is_read_with_a_fresh_token_each_time_over_one_connection() -> None:
    async with leases(answer("200 OK", STORED)) as (server, api):
        first, second = await api.read(), await api.read()
    assert first == second
    assert first is not None
    assert ("pod-2", "", 15, 3, "7") == (
        first.holder,
        first.process,
        first.duration,
        first.transitions,
        first.version,
    )
    assert 1 == server.connections
    assert [b"Bearer t-0" in server.requests[0], b"Bearer t-1" in server.requests[1]] == [True, True]
    assert server.requests[0].startswith(b"GET /apis/coordination.k8s.io/v1/namespaces/n/leases/l ")


async def test_a_lease_that_is_not_there_is_none() -> None:
    async with leases(answer("404 Not Found", {"kind": "Status"})) as (_, api):
        assert await api.read() is None


async def test_a_first_write_creates_it_with_times_as_kubernetes_spells_them() -> None:
    async with leases(answer("201 Created", STORED)) as (server, api):
        await api.write(claim(None, ME, WALL))
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /apis/coordination.k8s.io/v1/namespaces/n/leases ")
    assert {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "l", "namespace": "n", "annotations": {"klag-trio/process": "process-1"}},
        "spec": {
            "holderIdentity": "pod-1",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-11-24T12:00:00.123456Z",
            "renewTime": "2026-11-24T12:00:00.123456Z",
            "leaseTransitions": 0,
        },
    } == json.loads(body)


async def test_a_write_names_the_version_it_replaces_and_keeps_what_others_put_there() -> None:
    async with leases(answer("200 OK", STORED)) as (server, api):
        seen = await api.read()
        await api.write(claim(seen, ME, WALL))
    head, _, body = server.requests[1].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /apis/coordination.k8s.io/v1/namespaces/n/leases/l ")
    sent = json.loads(body)
    assert ("7", {"team": "x"}) == (sent["metadata"]["resourceVersion"], sent["metadata"]["labels"])
    assert (4, None) == (sent["spec"]["leaseTransitions"], sent["spec"]["strategy"])


@pytest.mark.parametrize("status", ["409 Conflict", "404 Not Found"])
async def test_a_write_on_an_old_version_or_on_nothing_is_a_conflict(status: str) -> None:
    async with leases(answer("200 OK", STORED), answer(status, {"kind": "Status"})) as (_, api):
        seen = await api.read()
        with pytest.raises(LeaseConflict):
            await api.write(claim(seen, ME, WALL))


async def test_a_create_that_comes_second_is_a_conflict_and_one_without_a_namespace_is_told() -> None:
    missing = {"message": 'namespaces "n" not found'}
    async with leases(answer("409 Conflict", {}), answer("404 Not Found", missing)) as (_, api):
        with pytest.raises(LeaseConflict):
            await api.write(claim(None, ME, WALL))
        with pytest.raises(LeaseUnavailable, match='404 Not Found: namespaces "n" not found'):
            await api.write(claim(None, ME, WALL))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer("500 Internal Server Error", {"message": "etcd"}), "500 Internal Server Error: etcd"),
        (answer("503 Service Unavailable", b"<html>"), "503 Service Unavailable: no reason given"),
        (answer("401 Unauthorized", {"message": "Unauthorized"}), "needed: get and update on lease n/l"),
        (answer("403 Forbidden", {"message": "no"}), "403 Forbidden: no (needed: get and update on lease"),
        (answer("200 OK", b"not json"), "200 OK: no reason given"),
        (answer("200 OK", []), "200 OK: no reason given"),
        (answer("200 OK", {"metadata": {}}), "is no Lease"),
        (answer("200 OK", {**STORED, "spec": {"renewTime": "yesterday"}}), "is no Lease"),
        (answer("302 Found", b"", "Location: http://elsewhere.invalid/"), "302 Found: no reason given"),
        (b"garbage\r\n\r\n", "RemoteProtocolError"),
    ],
)
async def test_whatever_else_comes_back_is_told_as_unavailable_and_the_next_request_goes_on(
    given: bytes, expected: str
) -> None:
    async with leases(given, answer("200 OK", STORED)) as (_, api):
        with pytest.raises(LeaseUnavailable) as caught:
            await api.read()
        assert expected in str(caught.value)
        assert await api.read() is not None


async def test_the_server_s_request_to_wait_is_handed_on() -> None:
    given = answer("429 Too Many Requests", {"message": "slow down"}, "Retry-After: 3")
    async with leases(given) as (_, api):
        with pytest.raises(LeaseUnavailable) as caught:
            await api.read()
    assert 3.0 == caught.value.retry_after


@pytest.mark.parametrize(
    ("status", "connections"),
    [("401 Unauthorized", 2), ("403 Forbidden", 1), ("429 Too Many Requests", 1), ("502 Bad Gateway", 2)],
)
async def test_a_connection_that_another_may_do_better_than_is_given_up(
    status: str, connections: int
) -> None:
    async with leases(answer(status, {}), answer("200 OK", STORED)) as (server, api):
        with pytest.raises(LeaseUnavailable):
            await api.read()
        assert await api.read() is not None
    assert connections == server.connections


async def test_a_cancelled_request_returns_at_once_and_the_next_takes_another_connection() -> None:
    async with leases(b"", answer("200 OK", STORED)) as (server, api):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(api.read)
            while not server.requests:  # noqa: ASYNC110
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert await api.read() is not None
        assert 2 == server.connections


async def test_nobody_who_listens_is_told() -> None:
    async with leases(answer("200 OK", STORED)) as (_, api):
        pass
    with pytest.raises(LeaseUnavailable, match="ConnectError"):
        await api.read()
    await api.aclose()


async def test_a_token_that_cannot_be_read_is_told_and_tried_again() -> None:
    async with leases(answer("200 OK", STORED), token="none") as (server, api):
        with pytest.raises(LeaseUnavailable, match="token: cannot be read: Permission denied"):
            await api.read()
    assert [] == server.requests
