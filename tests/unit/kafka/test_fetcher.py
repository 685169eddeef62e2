"""What comes out of a partition's queue."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError

from klag_trio.domain.offsets import TopicPartition
from klag_trio.kafka.fetcher import Fetcher

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTITION = TopicPartition("orders", 0)
START = 6


class Library:
    """librdkafka, but for one error that comes out of a queue."""

    def __init__(self, library: Any, offset: int) -> None:
        self._library = library
        self._offset = offset
        self.assigned = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def rd_kafka_incremental_assign(self, *arguments: Any) -> Any:
        self.assigned += 1
        return self._library.rd_kafka_incremental_assign(*arguments)

    def rd_kafka_consume_queue(self, _queue: int, _timeout: int) -> Any:
        return SimpleNamespace(
            contents=SimpleNamespace(err=KafkaError._AUTO_OFFSET_RESET, offset=self._offset)
        )

    def rd_kafka_message_errstr(self, _message: Any) -> bytes:
        return b"offset out of range"

    def rd_kafka_message_destroy(self, _message: Any) -> None:
        pass


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    fetcher = Fetcher({"bootstrap.servers": "127.0.0.1:1", "group.id": "test"}, lambda _: None)
    yield fetcher
    fetcher.destroy()


def with_error(fetcher: Fetcher, offset: int) -> Library:
    """Let this fetcher find that this offset is out of range."""
    library = Library(fetcher.lib, offset)
    fetcher.lib = library  # type: ignore[assignment]
    return library


def test_an_answer_to_a_fetch_of_an_earlier_assignment_is_no_answer_to_this_one(fetcher: Fetcher) -> None:
    fetcher.start({PARTITION: START})
    library = with_error(fetcher, START - 1)
    assert fetcher.take(PARTITION) is None
    # It ended the fetch, which begins again where it began.
    assert 1 == library.assigned


@pytest.mark.parametrize("offset", [START, START + 1])
def test_an_answer_to_this_fetch_is_given(fetcher: Fetcher, offset: int) -> None:
    fetcher.start({PARTITION: START})
    library = with_error(fetcher, offset)
    error = fetcher.take(PARTITION)
    assert isinstance(error, KafkaError)
    assert KafkaError._AUTO_OFFSET_RESET == error.code()
    assert 0 == library.assigned
