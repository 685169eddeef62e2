"""Basic auth."""

from __future__ import annotations

import base64
import contextlib
import threading
from pathlib import Path

import bcrypt
import pytest
import trio
import trio.testing
from tests.unit.services.certificates import Authority
from tests.unit.services.raw_http import ask, request
from tests.unit.services.secured import secured

from klag_trio.web import passwords
from klag_trio.web.passwords import Passwords, TooBusyError


def hashed(password: bytes, cost: int = 4) -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()


USERS = {"ann": hashed(b"right"), "bob": hashed(b"b:o b\xc3\xa9")}


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that bcrypt was asked about."""
    asked: list[bytes] = []
    check = bcrypt.checkpw

    def counted(password: bytes, hashed_password: bytes) -> bool:
        asked.append(password)
        return check(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return asked


def basic(name: str, password: str | bytes) -> str:
    password = password.encode() if isinstance(password, str) else password
    return "Authorization: Basic " + base64.b64encode(name.encode() + b":" + password).decode()


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, [basic("ann", "right")]),
        (200, [basic("bob", "b:o bé")]),
        (200, [basic("ann", "right").replace("Basic", "bASIC")]),
        (401, []),
        (401, [basic("ann", "wrong")]),
        (401, [basic("ann", "right ")]),
        (401, [basic("ann", "")]),
        (401, [basic("nobody", "right")]),
        (401, [basic("", "right")]),
        (401, [basic("Ann", "right")]),
        (401, [basic("ann", b"\xff\x00\xfe")]),
        (401, [basic("ann\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "right")]),
        (401, [basic("ann", "x" * 5000)]),
        (401, ["Authorization: Basic"]),
        (401, ["Authorization: Basic !!!"]),
        (401, ["Authorization: Basic YW5u"]),
        (401, ["Authorization: Bearer YW5uOnJpZ2h0"]),
        (401, ["Authorization: "]),
        (401, [basic("ann", "wrong"), basic("ann", "right")]),
    ],
)
async def test_whoever_gives_no_right_password_gets_nothing_on_any_path(
    tmp_path: Path, status: int, headers: list[str]
) -> None:
    async with secured(tmp_path, {"basic_auth_users": USERS}, Authority()) as site:
        for path in ("/metrics", "/", "/health", "/ready", "/leader", "/nope"):
            answer = await ask(site.address, request(path, *headers))
            if status == 200:
                assert answer.status == (404 if path == "/nope" else 200)
            else:
                assert (401, b"unauthorized") == (answer.status, answer.body)
                assert 'Basic realm="klag-trio", charset="UTF-8"' == answer.headers["www-authenticate"]


async def test_bcrypt_is_asked_once_for_each_password_however_often_and_together_it_comes(
    checks: list[bytes],
) -> None:
    checked = Passwords()
    answers = []

    async def ask_for(password: bytes) -> None:
        answers.append(await checked.right(USERS, "ann", password))

    for _ in range(2):
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(ask_for, b"right")
                nursery.start_soon(ask_for, b"wrong")
    assert [b"right", b"wrong"] == sorted(checks)
    assert 1000 == answers.count(True) == answers.count(False)


async def test_a_new_hash_is_asked_anew(checks: list[bytes]) -> None:
    checked = Passwords()
    assert await checked.right({"ann": hashed(b"old")}, "ann", b"old")
    assert not await checked.right({"ann": hashed(b"new")}, "ann", b"old")
    assert await checked.right({"ann": hashed(b"new")}, "ann", b"new")
    assert 3 == len(checks)


async def test_no_number_of_guesses_drives_out_what_is_right_or_grows_the_memory(
    checks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_MOST_REMEMBERED", 20)
    checked = Passwords()
    assert await checked.right(USERS, "ann", b"right")
    for number in range(60):
        assert not await checked.right(USERS, f"user{number % 7}", b"%d" % number)
    assert 20 == len(checked._wrong)
    assert 1 == len(checked._right)
    assert await checked.right(USERS, "ann", b"right")
    assert 61 == len(checks)


async def test_where_too_many_guess_at_once_the_rest_is_sent_away_and_who_is_known_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked = Passwords()
    assert await checked.right(USERS, "ann", b"right")
    outcomes: list[str] = []
    over = threading.Event()
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: not over.wait(60))

    async def guess(number: int) -> None:
        try:
            outcomes.append(str(await checked.right(USERS, "ann", b"%d" % number)))
        except TooBusyError:
            outcomes.append("busy")

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(guess, number)
        await trio.testing.wait_all_tasks_blocked()
        assert await checked.right(USERS, "ann", b"right")
        assert ["busy"] * 191 == outcomes
        over.set()
    assert {"False": 9, "busy": 191} == {word: outcomes.count(word) for word in set(outcomes)}


async def test_guesses_at_other_names_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    users = {**USERS, "bob": USERS["ann"]}
    checks: list[bytes] = []
    begun, going_on = threading.Event(), threading.Event()

    def check(password: bytes, _: bytes) -> bool:
        checks.append(password)
        begun.set()
        assert going_on.wait(60)
        return password == b"right"

    monkeypatch.setattr(bcrypt, "checkpw", check)
    checked = Passwords()

    async def guess(name: str, number: int) -> None:
        with contextlib.suppress(TooBusyError):
            await checked.right(users, name, b"%d" % number)

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(guess, ["bob", f"nobody-{number}"][number % 2], number)
        assert await trio.to_thread.run_sync(begun.wait, 60)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(checked.right, users, "ann", b"right")
        await trio.testing.wait_all_tasks_blocked()
        going_on.set()
    # One was under way, and at most one of each other place came before.
    assert checks.index(b"right") <= 2
    assert len(checks) > 10


async def test_who_leaves_while_waiting_does_not_keep_others_from_their_answer() -> None:
    limiter = trio.CapacityLimiter(1)
    checked = Passwords(limiter)
    limiter.acquire_on_behalf_of_nowait(object())
    first = trio.CancelScope()
    answers = []

    async def leave() -> None:
        with first:
            await checked.right(USERS, "ann", b"right")

    async def stay() -> None:
        answers.append(await checked.right(USERS, "ann", b"right"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stay)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        limiter.total_tokens = 2
    assert [True] == answers


async def test_of_a_user_who_does_not_exist_bcrypt_is_asked_a_hash_of_the_usual_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []
    check = bcrypt.checkpw

    def noted(password: bytes, hashed_password: bytes) -> bool:
        asked.append(hashed_password[:7])
        return check(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", noted)
    users = {"ann": hashed(b"right", 5), "bob": hashed(b"right", 5), "eve": hashed(b"right", 4)}
    checked = Passwords()
    for name in ("ann", "nobody", "somebody"):
        assert not await checked.right(users, name, b"wrong")
    assert [b"$2b$05$"] * 3 == asked


async def test_who_leaves_while_a_slow_hash_is_checked_waits_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, over = threading.Event(), threading.Event()
    checks: list[bool] = []

    def check(*_: bytes) -> bool:
        begun.set()
        checks.append(over.wait(60))
        return False

    monkeypatch.setattr(bcrypt, "checkpw", check)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Passwords().right, USERS, "ann", b"right")
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    assert [] == checks
    over.set()
