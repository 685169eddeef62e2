"""What the worker keeps while several threads of it read."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from klag_trio.domain.offsets import TopicPartition
from klag_trio.kafka import worker

READERS = 4
MOST = 100


class Remembered(dict[str, int]):
    """Is told when a reader begins and ends; nothing may go while any reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = 0
        self.locked = threading.Lock()

    def __delitem__(self, topic: str) -> None:
        assert not self.reading, "a topic is forgotten while threads remember others"
        super().__delitem__(topic)


class Reader:
    """Finds that all topics have large batches."""

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered

    def read(self, wanted: Mapping[TopicPartition, Sequence[int]], *_: Any, **__: Any) -> None:
        with self._remembered.locked:
            self._remembered.reading += 1
        for tp in wanted:
            self._remembered[tp.topic] = 1
        with self._remembered.locked:
            self._remembered.reading -= 1


def test_topics_are_forgotten_only_while_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_TOPICS_REMEMBERED", MOST)
    reading, remembered = worker._Worker({}, {}, worker._Replies(io.BytesIO())), Remembered()
    monkeypatch.setattr(reading, "_pass_of", remembered)
    monkeypatch.setattr(reading, "_new_reader", lambda: Reader(remembered))
    for cycle in range(20):
        shards = [[(f"{cycle} {reader} {n}", 0, [0]) for n in range(MOST)] for reader in range(READERS)]
        reading._read(shards, 1.0, 1.0)
        # Those of one read at most come on top.
        assert len(remembered) <= MOST + READERS * MOST
