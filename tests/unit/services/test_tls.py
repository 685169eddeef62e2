"""TLS over real sockets, with certificates that the tests make and Python's own client."""

from __future__ import annotations

import contextlib
import random
import ssl
from pathlib import Path

import pytest
import trio
from structlog.typing import EventDict
from tests.unit.services.certificates import Authority, ask_tls, client_context, connect_tls
from tests.unit.services.publication import large_publication, small_publication
from tests.unit.services.raw_http import ask, connect, descriptors, is_closed, request
from tests.unit.services.secured import secured, tls_config
from tests.unit.services.settling import settled
from trio.testing import MockClock, wait_all_tasks_blocked

from klag_trio.web.server import Timeouts

TIMEOUTS = Timeouts()
LARGE = large_publication(5_000_000)
REFUSED = (ssl.SSLError, trio.BrokenResourceError, EOFError)
ALL_NAMES = ["scraper.example", "192.0.2.7", "2001:db8::7", "scraper@example.org"]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority()


# What is served


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_requests_are_answered_one_after_another(
    tmp_path: Path, authority: Authority, logged: list[EventDict], version: ssl.TLSVersion
) -> None:
    context = client_context(authority)
    context.minimum_version = context.maximum_version = version
    async with secured(tmp_path, tls_config(tmp_path, authority), authority) as site:
        client = await connect_tls(site.address, context)
        await client.send(request("/health") + request("/metrics") + request("/nope"))
        answers = [await client.answer() for _ in range(3)]
        assert [200, 200, 404] == [answer.status for answer in answers]
        assert b"text 1\ntext 2\n" == answers[1].body
        await client.stream.aclose()


async def test_a_large_answer_arrives_whole_plain_and_gzipped(tmp_path: Path, authority: Authority) -> None:
    async with secured(tmp_path, tls_config(tmp_path, authority), authority, LARGE) as site:
        client = await connect_tls(site.address, client_context(authority))
        await client.send(request("/metrics") + request("/metrics", "Accept-Encoding: gzip"))
        assert b"".join(LARGE.text.chunks) == (await client.answer()).body
        assert LARGE.text.gzipped == (await client.answer()).body
        await client.stream.aclose()


async def test_a_certificate_and_key_may_stand_in_the_file_itself(
    tmp_path: Path, authority: Authority
) -> None:
    cert, key = authority.write_server(tmp_path)
    config = {"tls_server_config": {"cert": cert.read_text(), "key": key.read_text()}}
    for file in (cert, key):
        file.unlink()
    async with secured(tmp_path, config, authority) as site:
        assert (200, b"ok") == await ask_tls(site.address, client_context(authority), request("/health"))


async def test_an_answer_that_has_ended_can_be_told_from_one_cut_off(
    tmp_path: Path, authority: Authority
) -> None:
    async with secured(tmp_path, tls_config(tmp_path, authority), authority) as site:
        client = await connect_tls(site.address, client_context(authority))
        await client.send(request("/health", "Connection: close"))
        assert b"ok" == (await client.answer()).body
        # Without TLS's own end this is a BrokenResourceError.
        assert b"" == await client.stream.receive_some(1)
        await client.stream.aclose()


async def test_who_sends_a_large_body_first_still_reads_the_refusal(
    tmp_path: Path, authority: Authority
) -> None:
    async with secured(tmp_path, tls_config(tmp_path, authority), authority) as site:
        client = await connect_tls(site.address, client_context(authority))
        await client.send(request("/metrics", "Content-Length: 9000000", method="POST"))
        await client.send(bytes(9_000_000))
        assert 405 == (await client.answer()).status
        assert b"" == await client.stream.receive_some(1)
        await trio.aclose_forcefully(client.stream)


async def test_plain_http_is_told_to_speak_tls(tmp_path: Path, authority: Authority) -> None:
    async with secured(tmp_path, tls_config(tmp_path, authority), authority) as site:
        answer = await ask(site.address, request("/health"))
    assert (400, b"Client sent an HTTP request to an HTTPS server.\r\n") == (answer.status, answer.body)


@pytest.mark.parametrize(
    ("options", "version"),
    [
        ({}, ssl.TLSVersion.TLSv1_1),
        ({"min_version": "TLS13"}, ssl.TLSVersion.TLSv1_2),
        ({"max_version": "TLS12"}, ssl.TLSVersion.TLSv1_3),
        ({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, ssl.TLSVersion.TLSv1_2),
    ],
)
async def test_a_version_outside_the_bounds_is_refused(
    tmp_path: Path, authority: Authority, options: dict[str, object], version: ssl.TLSVersion
) -> None:
    context = client_context(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        pytest.warns(DeprecationWarning, match="deprecated")
        if version < ssl.TLSVersion.TLSv1_2
        else contextlib.nullcontext()
    ):
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
        context.minimum_version = version
    async with secured(tmp_path, tls_config(tmp_path, authority, **options), authority) as site:
        with pytest.raises(trio.BrokenResourceError):
            await connect_tls(site.address, context)


@pytest.mark.parametrize("prefer", [True, False])
async def test_the_chosen_cipher_suites_are_the_ones_spoken(
    tmp_path: Path, authority: Authority, prefer: bool
) -> None:
    suites = [
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ]
    context = client_context(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+CHACHA20:ECDHE+AES256:ECDHE+AES128")
    options = {"cipher_suites": suites, "prefer_server_cipher_suites": prefer}
    async with secured(tmp_path, tls_config(tmp_path, authority, **options), authority) as site:
        client = await connect_tls(site.address, context)
        spoken = client.stream.cipher()
        await client.stream.aclose()
        context.set_ciphers("ECDHE+AES128")
        with pytest.raises(trio.BrokenResourceError):
            await connect_tls(site.address, context)
    assert spoken is not None
    assert ("AES256-GCM" if prefer else "CHACHA20") in spoken[0]


async def test_the_chosen_curve_is_the_one_spoken(tmp_path: Path, authority: Authority) -> None:
    config = tls_config(tmp_path, authority, curve_preferences=["CurveP384"])
    async with secured(tmp_path, config, authority) as site:
        context = client_context(authority)
        context.set_ecdh_curve("prime256v1")
        with pytest.raises(trio.BrokenResourceError):
            await connect_tls(site.address, context)
        context.set_ecdh_curve("secp384r1")
        assert (200, b"ok") == await ask_tls(site.address, context, request("/health"))


# Certificates of clients


@pytest.mark.parametrize(
    ("kind", "none", "ours", "strangers"),
    [
        ("NoClientCert", True, True, True),
        ("VerifyClientCertIfGiven", True, True, False),
        ("RequireAndVerifyClientCert", False, True, False),
    ],
)
async def test_clients_are_asked_for_certificates_as_configured(
    tmp_path: Path,
    authority: Authority,
    stranger: Authority,
    kind: str,
    none: bool,
    ours: bool,
    strangers: bool,
) -> None:
    options = {"client_auth_type": kind}
    if kind != "NoClientCert":
        (tmp_path / "ca.pem").write_text(authority.pem())
        options["client_ca_file"] = "ca.pem"
    async with secured(tmp_path, tls_config(tmp_path, authority, **options), authority) as site:

        async def passes(certificate: tuple[Path, Path] | None) -> bool:
            try:
                found = await ask_tls(
                    site.address, client_context(authority, certificate), request("/health")
                )
            except REFUSED:
                return False
            return found == (200, b"ok")

        assert (none, ours, strangers) == (
            await passes(None),
            await passes(authority.write_client(tmp_path, "scraper.example")),
            await passes(stranger.write_client(tmp_path, "scraper.example")),
        )


async def test_a_ca_may_stand_in_the_file_itself_and_need_not_be_a_root(
    tmp_path: Path, authority: Authority
) -> None:
    intermediate = authority.ca.create_child_ca()
    options = {
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca": intermediate.cert_pem.bytes().decode(),
    }
    async with secured(tmp_path, tls_config(tmp_path, authority, **options), authority) as site:
        ours = Authority(intermediate).write_client(tmp_path, "scraper.example")
        context = client_context(authority, ours)
        assert (200, b"ok") == await ask_tls(site.address, context, request("/health"))
        sibling = Authority(authority.ca.create_child_ca()).write_client(tmp_path, "scraper.example")
        with pytest.raises(REFUSED):
            await ask_tls(site.address, client_context(authority, sibling), request("/health"))


@pytest.mark.parametrize("name", ALL_NAMES)
async def test_a_certificate_needs_one_of_the_allowed_names(
    tmp_path: Path, authority: Authority, name: str
) -> None:
    options = {
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca": authority.pem(),
        "client_allowed_sans": ["other.example", name],
    }
    async with secured(tmp_path, tls_config(tmp_path, authority, **options), authority) as site:
        allowed = authority.write_client(tmp_path, "first.example", name)
        context = client_context(authority, allowed)
        assert (200, b"ok") == await ask_tls(site.address, context, request("/health"))
        others = [
            *(other for other in ALL_NAMES if other != name),
            "scraper.example.org",
            "a.scraper.example",
        ]
        for other in others:
            context = client_context(authority, authority.write_client(tmp_path, other))
            with pytest.raises(REFUSED):
                await ask_tls(site.address, context, request("/health"))


async def test_a_refusal_is_a_line_for_who_debugs_and_nothing_for_others(
    tmp_path: Path, authority: Authority, logged: list[EventDict]
) -> None:
    options = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": authority.pem()}
    async with secured(tmp_path, tls_config(tmp_path, authority, **options), authority) as site:
        with pytest.raises(REFUSED):
            await ask_tls(site.address, client_context(authority), request("/health"))
        while not logged:
            await wait_all_tasks_blocked(0.01)
    assert [("debug", "client refused", "peer did not return a certificate")] == [
        (event["log_level"], event["event"], event["reason"]) for event in logged
    ]
    logged.clear()


# When it closes


@pytest.mark.parametrize(
    "sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)]
)
async def test_a_handshake_that_does_not_go_on_is_not_waited_for(
    tmp_path: Path, authority: Authority, mock_clock: MockClock, sent: bytes
) -> None:
    async with secured(tmp_path, tls_config(tmp_path, authority), authority) as site:
        before = descriptors()
        client = await connect(site.address)
        if sent:
            await client.send(sent)
        await settled()
        assert 2 == len(descriptors() - before)
        mock_clock.jump(TIMEOUTS.request)
        assert await is_closed(client)
        await client.stream.aclose()
        await settled()
        assert not descriptors() - before
        # Nor is a client that shakes hands and says nothing after that.
        slow = await connect_tls(site.address, client_context(authority))
        await settled()
        mock_clock.jump(TIMEOUTS.request)
        assert b"" == await slow.stream.receive_some(1)
        await trio.aclose_forcefully(slow.stream)


async def test_a_client_that_never_reads_is_cut_off(
    tmp_path: Path, authority: Authority, mock_clock: MockClock
) -> None:
    config = tls_config(tmp_path, authority)
    async with secured(tmp_path, config, authority, LARGE, TIMEOUTS) as site:
        before = descriptors()
        client = await connect_tls(site.address, client_context(authority), receive_buffer=4096)
        await client.send(request("/metrics"))
        await settled()
        assert 2 == len(descriptors() - before)
        mock_clock.jump(TIMEOUTS.send)
        await settled()
        assert 1 == len(descriptors() - before)
        await trio.aclose_forcefully(client.stream)


async def test_a_stop_waits_for_no_client(
    tmp_path: Path, authority: Authority, mock_clock: MockClock
) -> None:
    config = tls_config(tmp_path, authority)
    before = descriptors()
    async with secured(tmp_path, config, authority, LARGE, TIMEOUTS) as site:
        context = client_context(authority)
        clients = [await connect_tls(site.address, context, receive_buffer=4096) for _ in range(20)]
        for client in clients[:10]:
            await client.send(request("/metrics"))
        half = await connect(site.address)
        await half.send(b"\x16\x03\x01")
        await settled()
        mock_clock.autojump_threshold = 0.05
    for stream in (half.stream, *(client.stream for client in clients)):
        await trio.aclose_forcefully(stream)
    assert not descriptors() - before


async def test_who_leaves_before_the_answer_is_no_fault(
    tmp_path: Path, authority: Authority, logged: list[EventDict]
) -> None:
    config = tls_config(tmp_path, authority)
    users = {"basic_auth_users": {"ann": "$2b$06$" + "A" * 21 + "." + "B" * 31}}
    async with secured(tmp_path, {**config, **users}, authority, LARGE) as site:
        before = descriptors()
        for number in range(20):
            client = await connect_tls(site.address, client_context(authority))
            # bcrypt takes its time, so that the answer comes when nobody is there.
            await client.send(request("/metrics", f"Authorization: Basic {'YW5u'}Om{number:02}"))
            if number % 2:
                await client.stream.aclose()
            else:
                await trio.aclose_forcefully(client.stream)
        with trio.fail_after(60):
            while descriptors() - before:
                await wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize("seed", range(4))
async def test_no_bytes_whatever_harm_the_server(tmp_path: Path, authority: Authority, seed: int) -> None:
    chance = random.Random(seed)
    config = tls_config(tmp_path, authority)
    async with secured(tmp_path, config, authority, small_publication()) as site:
        before = descriptors()
        hello = await _first_flight(authority)
        for _ in range(100):
            sent = bytearray(hello)
            for _ in range(chance.randint(0, 3)):
                place = chance.randrange(len(sent))
                sent[place : place + chance.randint(0, 9)] = chance.randbytes(chance.randint(0, 9))
            client = await connect(site.address)
            await client.send(bytes(sent[: chance.randint(1, len(sent))]))
            await trio.aclose_forcefully(client.stream)
        assert (200, b"ok") == await ask_tls(site.address, client_context(authority), request("/health"))
        while descriptors() - before:
            await wait_all_tasks_blocked(0.01)


async def _first_flight(authority: Authority) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = client_context(authority).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    return outgoing.read()
