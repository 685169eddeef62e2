"""The web config file while it changes under a running server."""

from __future__ import annotations

import errno
import os
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import trio
import yaml
from cryptography.hazmat.primitives import serialization
from structlog.typing import EventDict
from tests.unit.services.certificates import Authority, ask_tls, client_context, connect_tls
from tests.unit.services.raw_http import Client, ask, connect, request
from tests.unit.services.secured import Site, put, secured, tls_config, write
from trio.testing import MockClock

from klag_trio.config import ConfigError
from klag_trio.web import security as web_security
from klag_trio.web.security import WebSecurity

REFUSED = (ssl.SSLError, trio.BrokenResourceError, EOFError)
CANNOT = "the web config has changed and cannot be used: the one before goes on to hold"
CHANGED = "the web config has changed and holds from now on"
LESS = "the web config has changed and asks less of clients from now on"
HEALTH = request("/health")


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A file that is looked at many times a second, once for each look."""
    seen: list[Path] = []
    look = web_security._look

    def note(path: Path, *attempts: Any) -> Any:
        attempt = look(path, *attempts)
        seen.append(path)
        return attempt

    monkeypatch.setattr(web_security, "_LOOK_EVERY", 0.02)
    monkeypatch.setattr(web_security, "_look", note)
    return seen


async def until(seen: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not seen():  # noqa: ASYNC110 - what it waits for is a file being read
            await trio.sleep(0.02)


async def asked_once_more(kept: Client[trio.SSLStream[trio.SocketStream]]) -> int:
    await kept.send(HEALTH)
    return (await kept.answer()).status


async def taken(site: Site, *outcomes: str) -> None:
    await until(lambda: site.counted == list(outcomes))


async def serial(site: Site) -> str:
    client = await connect_tls(site.address, client_context(site.authority))
    certificate = client.stream.getpeercert()
    await trio.aclose_forcefully(client.stream)
    return str(certificate["serialNumber"])


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_end(
    tmp_path: Path, authority: Authority, looks: list[Path], logged: list[EventDict]
) -> None:
    async with secured(tmp_path, tls_config(tmp_path, authority), authority) as site:
        before = await serial(site)
        kept = await connect_tls(site.address, client_context(authority))
        await kept.send(HEALTH)
        assert 200 == (await kept.answer()).status
        # The certificate may come before its key: that is told, and the old pair goes on.
        cert, key = (tmp_path / "new").with_suffix(".crt"), (tmp_path / "new").with_suffix(".key")
        (tmp_path / "other").mkdir()
        for new, made in zip((cert, key), authority.write_server(tmp_path / "other"), strict=True):
            made.replace(new)
        cert.replace(tmp_path / "server.crt")
        await taken(site, "failure")
        assert before == await serial(site)
        assert ["tls_server_config.key_file: does not belong to the certificate in cert_file"] == logged[0][
            "problems"
        ]
        await kept.send(HEALTH)
        assert 200 == (await kept.answer()).status
        key.replace(tmp_path / "server.key")
        await taken(site, "failure", "success")
        assert before != await serial(site)
        with pytest.raises(REFUSED):
            await asked_once_more(kept)
        await trio.aclose_forcefully(kept.stream)
    assert [CANNOT, CHANGED] == [event["event"] for event in logged]
    logged.clear()


async def test_clients_of_a_ca_that_was_removed_are_refused(
    tmp_path: Path, authority: Authority, looks: list[Path], logged: list[EventDict]
) -> None:
    other = Authority()
    mutual = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
    (tmp_path / "ca.pem").write_text(authority.pem() + other.pem())
    ours = client_context(authority, authority.write_client(tmp_path, "ours.example"))
    theirs = client_context(authority, other.write_client(tmp_path, "theirs.example"))
    async with secured(tmp_path, tls_config(tmp_path, authority, **mutual), authority) as site:
        kept = await connect_tls(site.address, theirs)
        await kept.send(HEALTH)
        assert 200 == (await kept.answer()).status
        put(tmp_path / "ca.pem", authority.pem())
        await taken(site, "success")
        assert (200, b"ok") == await ask_tls(site.address, ours, HEALTH)
        with pytest.raises(REFUSED):
            await ask_tls(site.address, theirs, HEALTH)
        # Nor may it go on where it is.
        with pytest.raises(REFUSED):
            await asked_once_more(kept)
        await trio.aclose_forcefully(kept.stream)
        put(tmp_path / "ca.pem", authority.pem() + other.pem())
        await taken(site, "success", "success")
        assert (200, b"ok") == await ask_tls(site.address, theirs, HEALTH)
    assert [CHANGED, "client refused", CHANGED] == [event["event"] for event in logged]
    logged.clear()


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        ("tls_server_config: [", "line 1"),
        ("", "tls_server_config"),
        ("{tls_server_config: {cert_file: nope, key_file: server.key}}", "tls_server_config.cert_file"),
        (
            "{tls_server_config: {cert_file: server.crt, key_file: server.crt}}",
            "tls_server_config.key_file",
        ),
        (
            "{tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: Any}}",
            "tls_server_config.client_auth_type",
        ),
    ],
)
async def test_what_cannot_be_used_is_told_and_counted_once_and_changes_nothing(
    tmp_path: Path, authority: Authority, looks: list[Path], logged: list[EventDict], broken: str, path: str
) -> None:
    config = tls_config(tmp_path, authority)
    async with secured(tmp_path, config, authority) as site:
        before = await serial(site)
        site.write(broken)
        await taken(site, "failure")
        before_now = len(looks)
        await until(lambda: len(looks) > before_now + 2)
        assert ["failure"] == site.counted
        assert before == await serial(site)
        (line,) = logged
        assert ("error", CANNOT) == (line["log_level"], line["event"])
        assert line["problems"][0].startswith(path)
        site.write(config)
        await taken(site, "failure", "success")
    logged.clear()


MUTUAL = {
    "client_auth_type": "RequireAndVerifyClientCert",
    "client_ca_file": "ca.pem",
    "client_allowed_sans": ["scraper.example"],
}


@pytest.mark.parametrize("cut_before", ["client_auth_type", "client_ca_file", "client_allowed_sans", "- "])
async def test_a_file_that_is_half_written_lets_nobody_in(
    tmp_path: Path, authority: Authority, virtual_time: MockClock, logged: list[EventDict], cut_before: str
) -> None:
    (tmp_path / "ca.pem").write_text(authority.pem())
    config = tls_config(tmp_path, authority, **MUTUAL)
    path = write(tmp_path, yaml.safe_dump(config, sort_keys=False))
    security = await WebSecurity.load(path)
    before, whole = security.current, path.read_text()
    async with trio.open_nursery() as nursery:
        await nursery.start(security.run, lambda _: None)
        await trio.sleep(0.5)
        for _ in range(3):
            # Each look sees other bytes: somebody is writing.
            whole = f"# another\n{whole}"
            path.write_text(whole[: whole.index(cut_before)])
            await trio.sleep(1)
            assert before is security.current
        path.write_text(whole)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert security.current.tls is not None
    assert ssl.CERT_REQUIRED == security.current.tls.verify_mode
    assert {"scraper.example"} == security.current.allowed_sans
    assert [CHANGED] == [event["event"] for event in logged]
    logged.clear()


@pytest.mark.parametrize(
    ("change", "lowered"),
    [
        ({"client_allowed_sans": None}, ["client_allowed_sans"]),
        (
            {"client_auth_type": "VerifyClientCertIfGiven", "client_allowed_sans": None},
            ["client_auth_type", "client_allowed_sans"],
        ),
        (dict.fromkeys(MUTUAL), ["client_auth_type", "client_allowed_sans"]),
        ({"min_version": "TLS12"}, ["min_version"]),
        ({"min_version": "TLS12", "cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, []),
        ({"client_allowed_sans": ["other.example"]}, []),
        ({"max_version": "TLS13"}, []),
    ],
)
async def test_a_change_that_asks_less_of_clients_says_by_what(
    tmp_path: Path,
    authority: Authority,
    looks: list[Path],
    logged: list[EventDict],
    change: dict[str, object],
    lowered: list[str],
) -> None:
    (tmp_path / "ca.pem").write_text(authority.pem())
    config = tls_config(tmp_path, authority, **MUTUAL, min_version="TLS13")
    async with secured(tmp_path, config, authority) as site:
        changed = {**config["tls_server_config"], **change, "curve_preferences": ["X25519"]}
        site.write({"tls_server_config": {key: value for key, value in changed.items() if value is not None}})
        await taken(site, "success")
        (line,) = logged
        assert (LESS if lowered else CHANGED) == line["event"]
        assert [f"tls_server_config.{key}" for key in lowered] == line.get("lowered", [])
        assert ("warning" if lowered else "info") == line["log_level"]
    logged.clear()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_users_change_and_are_asked_on_connections_that_stay(
    tmp_path: Path, authority: Authority, looks: list[Path], logged: list[EventDict], encrypted: bool
) -> None:
    tls = tls_config(tmp_path, authority) if encrypted else {}
    async with secured(tmp_path, {**tls, "basic_auth_users": {"first": hashed("one")}}, authority) as site:

        async def status(auth: str) -> int:
            await client.send(request("/metrics", f"Authorization: Basic {auth}"))
            return (await client.answer()).status

        client: Client[trio.SocketStream] | Client[trio.SSLStream[trio.SocketStream]] = (
            await connect_tls(site.address, client_context(authority))
            if encrypted
            else await connect(site.address)
        )
        one, two = "Zmlyc3Q6b25l", "c2Vjb25kOnR3bw=="
        assert (200, 401) == (await status(one), await status(two))
        site.write({**tls, "basic_auth_users": {"second": hashed("two")}})
        await taken(site, "success")
        assert (401, 200) == (await status(one), await status(two))
        await trio.aclose_forcefully(client.stream)
    logged.clear()


async def test_a_mounted_secret_is_followed_when_its_link_moves(
    tmp_path: Path, authority: Authority, virtual_time: MockClock, logged: list[EventDict]
) -> None:
    # As the kubelet does it: files are links into ..data, which is a link that is replaced.
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        write(tmp_path / version, tls_config(tmp_path / version, authority))
    (tmp_path / "..data").symlink_to("one")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for name in ("web.yml", "server.crt", "server.key"):
        (mounted / name).symlink_to(f"../..data/{name}")
    security = await WebSecurity.load(mounted / "web.yml")
    first = security.current
    async with trio.open_nursery() as nursery:
        counted: list[str] = []
        await nursery.start(security.run, counted.append)
        moved = trio.current_time()
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(tmp_path / "..data")
        await until(lambda: counted == ["success"])
        assert trio.current_time() - moved < 3
        nursery.cancel_scope.cancel()
    assert first is not security.current
    logged.clear()


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda folder: (folder / "web.yml").unlink(), "cannot be read: No such file or directory"),
        (lambda folder: (folder / "web.yml").write_bytes(b"\xff"), "is not UTF-8 text (byte 0)"),
        (
            lambda folder: (folder / "server.key").unlink(),
            "tls_server_config.key_file: cannot be read: No such file or directory, found FOLDER/server.key",
        ),
        (
            lambda folder: _make_fifo(folder / "server.crt"),
            "tls_server_config.cert_file: cannot be read: it is no regular file, found FOLDER/server.crt",
        ),
        (
            lambda folder: (folder / "server.crt").write_bytes(bytes(2_000_000)),
            "tls_server_config.cert_file: cannot be read: it is larger than 1048576 bytes, "
            "found FOLDER/server.crt",
        ),
        (
            lambda folder: shutil.copy(folder / "server.crt", folder / "server.key"),
            "tls_server_config.key_file: holds no private key in PEM (-----BEGIN PRIVATE KEY-----)",
        ),
        (
            lambda folder: shutil.copy(folder / "server.key", folder / "server.crt"),
            "tls_server_config.cert_file: holds no certificate in PEM (-----BEGIN CERTIFICATE-----)",
        ),
        (
            lambda folder: (folder / "server.crt").write_text(
                "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n"
            ),
            "tls_server_config.cert_file: cannot be used with key_file: ",
        ),
        (
            lambda folder: (folder / "ca.pem").write_text("hunter2"),
            "tls_server_config.client_ca_file: holds no certificates in PEM: ",
        ),
        (
            lambda folder: (folder / "server.key").write_text(_encrypted(folder / "server.key")),
            "tls_server_config.key_file: holds a key that needs a passphrase: klag-trio has none to give",
        ),
    ],
)
async def test_what_cannot_be_used_at_the_start_is_named(
    tmp_path: Path, authority: Authority, prepare: Callable[[Path], object], problem: str
) -> None:
    (tmp_path / "ca.pem").write_text(authority.pem())
    mutual = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
    path = write(tmp_path, tls_config(tmp_path, authority, **mutual))
    prepare(tmp_path)
    with pytest.raises(ConfigError) as caught:
        await WebSecurity.load(path)
    said = str(caught.value)
    # Where a colon ends it the reason is OpenSSL's, of whichever version.
    assert said.startswith(problem.replace("FOLDER", str(tmp_path)))
    assert "hunter2" not in said


def _make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _encrypted(key: Path) -> str:
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hunter2"),
    ).decode()


def _no_descriptor(*_: object) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_a_key_that_cannot_be_held_in_memory_is_told_at_the_start(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, tls_config(tmp_path, authority))
    monkeypatch.setattr("os.memfd_create", _no_descriptor)
    with pytest.raises(
        ConfigError, match=r"^tls_server_config: cannot be used: it cannot be held in memory: Too many"
    ):
        await WebSecurity.load(path)


async def test_a_certificate_that_could_not_be_held_in_memory_is_taken_as_soon_as_it_can(
    tmp_path: Path,
    authority: Authority,
    looks: list[Path],
    logged: list[EventDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with secured(tmp_path, tls_config(tmp_path, authority), authority) as site:
        before = await serial(site)
        with monkeypatch.context() as patch:
            patch.setattr("os.memfd_create", _no_descriptor)
            tls_config(tmp_path, authority)
            before_now = len(looks)
            await until(lambda: len(looks) > before_now + 3)
            assert before == await serial(site)
        await taken(site, "success")
        assert before != await serial(site)
    logged.clear()


async def test_headers_are_those_asked_for(tmp_path: Path, authority: Authority) -> None:
    headers = {
        "X-Frame-Options": "deny",
        "Content-Security-Policy": "default-src 'self'",
        "X-XSS-Protection": "",
    }
    async with secured(tmp_path, {"http_server_config": {"headers": headers}}, authority) as site:
        for path in ("/", "/metrics", "/nope"):
            answer = await ask(site.address, request(path))
            assert "deny" == answer.headers["x-frame-options"]
            assert "default-src 'self'" == answer.headers["content-security-policy"]
            assert "x-xss-protection" not in answer.headers
