"""The brokers that tests share: pytest's main process starts each at its first use, for all workers."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from tests.broker.shared import shared_kafka

from stack.kafka import OLDEST, KafkaCluster, StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection


@attrs.frozen
class PlainKafka:
    """A cluster that is known by its address alone."""

    bootstrap_servers: str


@contextmanager
def oldest_kafka(_: Path) -> Iterator[PlainKafka]:
    with KafkaCluster(version=OLDEST) as cluster:
        yield PlainKafka(cluster.bootstrap_servers)


# What is yielded goes to another process.
BROKERS: dict[str, Callable[[Path], AbstractContextManager[object]]] = {
    "shared": shared_kafka,
    "oldest": oldest_kafka,
}


class Brokers:
    """Starts brokers for whoever asks at `address`; each lives until `close`."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._folder = Path(self._running.enter_context(tempfile.TemporaryDirectory(prefix="klag-brokers-")))
        self._locks = {name: threading.Lock() for name in BROKERS}
        self._started: dict[str, object] = {}
        self._closing = threading.Event()
        self._answering: list[threading.Thread] = []
        self._listener = Listener(family="AF_UNIX")
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def address(self) -> str:
        assert isinstance(self._listener.address, str)
        return self._listener.address

    def close(self) -> None:
        """Stop all that were started."""
        self._closing.set()
        with Client(self.address) as last:
            last.send(None)
        for thread in (self._thread, *self._answering):
            thread.join()
        self._listener.close()
        self._running.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            # Whoever asks for one broker does not wait for another.
            thread = threading.Thread(target=self._answer, args=(self._listener.accept(),))
            self._answering.append(thread)
            thread.start()

    def _answer(self, connection: Connection) -> None:
        # Whoever asks may end before there is an answer.
        with connection, contextlib.suppress(EOFError, OSError):
            name = connection.recv()
            if name is not None:
                connection.send(self._get(name))

    def _get(self, name: str) -> object:
        with self._locks[name]:
            if name not in self._started:
                folder = self._folder / name
                folder.mkdir()
                try:
                    self._started[name] = self._running.enter_context(BROKERS[name](folder))
                except Exception as exc:
                    self._started[name] = StackError(f"the broker {name!r} cannot be started: {exc}")
            return self._started[name]


def ask_for(address: str, name: str) -> object:
    """The broker of this name, which runs from now on.

    Raises:
        StackError: it cannot be started.

    """
    with Client(address) as connection:
        connection.send(name)
        answer = connection.recv()
    if isinstance(answer, StackError):
        raise answer
    return answer
