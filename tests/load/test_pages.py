"""What the pages of a large cluster cost."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time

import pytest
import trio
from tests.unit.services.asgi import client_of
from tests.unit.services.large_pages import ADDRESSES, large_cluster

from klag_trio.web.app import make_app


@pytest.mark.parametrize("address", ADDRESSES)
def test_4000_groups_are_served_within_50_ms(address: str) -> None:
    command = [sys.executable, "-m", "tests.unit.services.large_pages", address]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    asked = json.loads(done.stdout)
    assert 5 == len(asked)
    assert {200} == {status for status, _, _ in asked}
    assert all(size < 60_000 for _, size, _ in asked)
    assert min(seconds for _, _, seconds in asked) < 0.05, asked


class Steps(trio.abc.Instrument):
    """The CPU time that the event loop's thread spends in one task before it turns to the next."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = math.inf

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.longest = max(self.longest, time.thread_time() - self._began)


async def test_the_event_loop_makes_no_page() -> None:
    client = client_of(make_app(large_cluster()))
    await client.get("/")
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    for page in range(1, 41):
        assert 200 == (await client.get(f"/?page={page}&sort=time")).status_code
    trio.lowlevel.remove_instrument(steps)
    assert 0 < steps.longest < 0.005
