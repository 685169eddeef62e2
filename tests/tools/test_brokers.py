"""How workers share brokers, with brokers that are none."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
from tests.brokers import BROKERS, Brokers, ask_for

from stack.kafka import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASKING = 4


@attrs.define
class Fake:
    """Stands for a broker, whose start lasts until somebody lets it go on."""

    fails: bool = False
    started: int = 0
    stopped: int = 0
    folder: Path | None = None
    starting: threading.Event = attrs.field(factory=threading.Event)
    may_start: threading.Event = attrs.field(factory=threading.Event)

    @contextmanager
    def run(self, folder: Path) -> Iterator[str]:
        self.started += 1
        self.folder = folder
        self.starting.set()
        assert self.may_start.wait(30)
        if self.fails:
            raise StackError("there is no java")
        yield f"broker {self.started}"
        self.stopped += 1


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> tuple[Fake, Fake]:
    """What is started at the names `one` and `other`."""
    one, other = Fake(), Fake()
    monkeypatch.setitem(BROKERS, "one", one.run)
    monkeypatch.setitem(BROKERS, "other", other.run)
    return one, other


@pytest.fixture
def brokers(fakes: tuple[Fake, Fake]) -> Iterator[Brokers]:
    brokers = Brokers()
    yield brokers
    brokers.close()


def test_a_broker_is_started_once_for_all_who_ask_at_once_and_later(
    fakes: tuple[Fake, Fake], brokers: Brokers
) -> None:
    one, other = fakes
    with ThreadPoolExecutor() as asking:
        answers = [asking.submit(ask_for, brokers.address, "one") for _ in range(ASKING)]
        assert one.starting.wait(30)
        # Nobody waits for a broker that somebody else has asked for.
        other.may_start.set()
        assert "broker 1" == ask_for(brokers.address, "other")
        assert not any(answer.done() for answer in answers)
        one.may_start.set()
        assert {"broker 1"} == {answer.result(30) for answer in answers}
    assert "broker 1" == ask_for(brokers.address, "one")
    assert (1, 1) == (one.started, other.started)


def test_a_broker_that_cannot_be_started_is_an_error_for_each_who_asks(
    fakes: tuple[Fake, Fake], brokers: Brokers
) -> None:
    one, other = fakes
    one.fails = True
    one.may_start.set()
    for _ in range(2):
        with pytest.raises(StackError, match=r"^the broker 'one' cannot be started: there is no java$"):
            ask_for(brokers.address, "one")
    assert 1 == one.started
    other.may_start.set()
    assert "broker 1" == ask_for(brokers.address, "other")


def test_closing_ends_each_that_was_started_and_removes_its_folder(fakes: tuple[Fake, Fake]) -> None:
    one, other = fakes
    one.may_start.set()
    brokers = Brokers()
    address = brokers.address
    ask_for(address, "one")
    assert one.folder is not None
    assert one.folder.is_dir()
    brokers.close()
    assert (1, 0) == (one.stopped, other.started)
    assert not one.folder.exists()
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        ask_for(address, "one")


def test_one_that_was_never_asked_closes_too(brokers: Brokers) -> None:
    assert brokers.address
