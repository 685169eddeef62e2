from __future__ import annotations

import threading
from typing import NoReturn

import pytest
import trio

from klag_trio.computing import compute


def failing(message: str) -> NoReturn:
    raise RuntimeError(message)


async def test_it_is_computed_in_a_thread_and_here_where_none_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    here = threading.current_thread()
    assert here is not await compute(threading.current_thread)

    async def no_thread(*_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)
    assert here is await compute(threading.current_thread)
    assert 3 == await compute(max, 1, 3)


async def test_what_goes_wrong_in_a_thread_is_not_done_again() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        await compute(failing, "a bug")
