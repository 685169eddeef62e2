"""How long bcrypt takes, in real time."""

from __future__ import annotations

import statistics
import time

from tests.unit.services.test_passwords import hashed

from klag_trio.web.passwords import Passwords


async def test_a_user_who_does_not_exist_costs_the_same_time() -> None:
    users = {"ann": hashed(b"right", 9), "bob": hashed(b"right", 9), "eve": hashed(b"right", 4)}
    checked = Passwords()
    took: dict[str, list[float]] = {"ann": [], "nobody": []}
    for number in range(15):
        for name, times in took.items():
            started = time.perf_counter()
            assert not await checked.right(users, name, b"%d" % number)
            times.append(time.perf_counter() - started)
    known, unknown = (statistics.median(times) for times in took.values())
    assert 0.5 < unknown / known < 2
    assert known > 0.01
