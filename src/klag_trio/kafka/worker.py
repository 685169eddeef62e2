"""What the worker process does: it lists groups, describes those of the newer protocol and reads records.

`kafka/worker_process.py` says why these have a process of their own, starts it, and asks. Requests come on
stdin and replies go to stdout, a JSON array in a line each; the first line has librdkafka's properties.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, BinaryIO

from confluent_kafka import KafkaError, KafkaException

from klag_trio import allocator
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import Reading
from klag_trio.kafka.coordinators import DESCRIPTION, Coordinators, Described, ask_each
from klag_trio.kafka.faults import fault_of
from klag_trio.kafka.fetcher import Fetcher
from klag_trio.kafka.groups import list_groups
from klag_trio.kafka.limits import limit_memory
from klag_trio.kafka.timestamps import TimestampReader
from klag_trio.kafka.turns import Coordination, Turns

# Of a line, so that none takes long to read, although any name in it may have 32 KB.
_LINE_BYTES = 64 * 1024
_DESCRIBED_AT_ONCE = 200
# The part of a listing's time for finding out which brokers there are.
_FOR_BROKERS = 0.2
# The part of a group's time after which a coordinator that has not answered takes no other's turn.
_PATIENCE = 0.1
# Those with large batches; topics come and go as long as the process runs.
_TOPICS_REMEMBERED = 10_000


class _Replies:
    """What goes out, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._writing = threading.Lock()

    def send(self, kind: str, *content: Any) -> None:
        line = json.dumps([kind, content]).encode() + b"\n"
        with self._writing:
            self._stream.write(line)
            self._stream.flush()


class _Worker:
    """Answers one request at a time."""

    def __init__(self, asking: Mapping[str, str], reading: Mapping[str, str], replies: _Replies) -> None:
        self._asking = asking
        self._reading = reading
        self._replies = replies
        self._kept: Coordinators | None = None
        self._idle: list[TimestampReader] = []
        self._pass_of: dict[str, int] = {}
        self.operations: Mapping[str, Callable[..., None]] = {
            "list": self._list,
            "describe": self._describe,
            "read": self._read,
            "rest": self._rest,
        }

    def _coordinators(self) -> Coordinators:
        if self._kept is None or self._kept.spent:
            self._kept = Coordinators(self._asking)
        return self._kept

    def _list(self, timeout: float) -> None:
        deadline = monotonic() + timeout
        handle = self._coordinators()
        # Of itself librdkafka does not notice that a broker has gone, and would wait for it each time.
        with suppress(KafkaException):  # which the listing will say too
            handle.ask_for_metadata(timeout * _FOR_BROKERS, topics=False)
        answer = list_groups(handle, max(0.001, deadline - monotonic()))
        groups, errors = ([], [answer]) if isinstance(answer, KafkaError) else answer
        for rows in _in_lines([group.name, group.state, group.type] for group in groups):
            self._replies.send("came", rows, [])
        self._replies.send("came", [], [_fault(fault_of(error)) for error in errors])

    def _describe(
        self, groups: Sequence[str], leaders: Sequence[int], is_known: bool, timeout: float, within: float
    ) -> None:
        """Ask about each group, and wait at most `timeout` seconds for each and `within` for all.

        `leaders` and `is_known` are a Coordination.
        """
        deadline = monotonic() + within
        coordination = Coordination(leaders, is_known=is_known)
        ask_each(
            self._coordinators(),
            partial(Coordinators, self._asking),
            DESCRIPTION,
            Turns(groups, coordination, most=_DESCRIBED_AT_ONCE, patience=_PATIENCE * timeout),
            self._tell,
            timeout=timeout,
            deadline=deadline,
        )

    def _tell(self, group: str, answer: Described | KafkaError) -> None:
        if isinstance(answer, KafkaError):
            self._replies.send("came", group, [], None, _fault(fault_of(answer)))
            return
        members = answer.members
        for rows in _in_lines(
            [each.consumer_id, each.client_id, each.host, each.assignment] for each in members
        ):
            self._replies.send("came", group, rows)
        self._replies.send("came", group, [], answer.state)

    def _read(self, shards: Sequence[Sequence[Any]], fetch_timeout: float, within: float) -> None:
        """Read the shards side by side, each partition of which is [topic, partition, positions]."""
        while len(self._pass_of) > _TOPICS_REMEMBERED:
            del self._pass_of[next(iter(self._pass_of))]

        def came(reading: Reading) -> None:
            for rows in _in_lines(_records(reading)):
                self._replies.send("came", rows, [], 0, 0)
            for rows in _in_lines(_faults(reading)):
                self._replies.send("came", [], rows, 0, 0)
            self._replies.send("came", [], [], reading.count, reading.bytes)

        def read(reader: TimestampReader, shard: Sequence[Any]) -> None:
            wanted = {TopicPartition(topic, number): positions for topic, number, positions in shard}
            reader.read(wanted, came, fetch_timeout=fetch_timeout, within=within)

        readers = [self._idle.pop() if self._idle else self._new_reader() for _ in shards]
        with ThreadPoolExecutor(len(shards)) as threads:
            for _ in threads.map(read, readers, shards):
                pass
        self._idle += readers
        allocator.give_back()

    def _new_reader(self) -> TimestampReader:
        return TimestampReader(self._fetcher, self._pass_of)

    def _fetcher(self, own: Mapping[str, str]) -> Fetcher:
        return Fetcher({**self._reading, **own}, lambda line: self._replies.send("log", line))

    def _rest(self) -> None:
        """Let go of the connections of readers."""
        for reader in self._idle:
            reader.close()
        self._idle.clear()


def _fault(fault: Fault) -> list[Any]:
    return [fault.code, fault.message, fault.retriable]


def _records(reading: Reading) -> Iterator[list[Any]]:
    for (tp, position), record in reading.records.items():
        yield [*tp, position, record.offset, record.timestamp]


def _faults(reading: Reading) -> Iterator[list[Any]]:
    for (tp, position), fault in reading.faults.items():
        yield [*tp, position, _fault(fault)]


def _in_lines(rows: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    """The rows, in lists that make a line each."""
    line: list[list[Any]] = []
    size = 0
    for row in rows:
        line.append(row)
        # A character may take six bytes.
        size += sum(6 * len(cell) if isinstance(cell, str) else 20 for cell in row)
        if size > _LINE_BYTES:
            yield line
            line, size = [], 0
    if line:
        yield line


def _end_with(requests: BinaryIO) -> None:
    """End as soon as whoever asks is gone, whatever is under way."""
    asker = select.poll()
    asker.register(requests, 0)
    asker.poll()  # which is never ready but for a hang-up
    os._exit(0)


def main() -> None:
    """Answer requests until there are no more to come, which is when whoever asks is gone."""
    allocator.keep_little()
    limit_memory()
    # Whoever started this ends it; the terminal and service managers send these to all processes at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    replies = _Replies(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    # What else is written to stdout is no reply.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # It is read when this process has ended, and nothing is to wait for that.
    os.set_blocking(sys.stderr.fileno(), False)
    requests = sys.stdin.buffer
    asking, reading = json.loads(requests.readline())
    threading.Thread(target=_end_with, args=(requests,), daemon=True).start()
    worker = _Worker(asking, reading, replies)
    replies.send("ready")
    for line in requests:
        operation, *arguments = json.loads(line)
        try:
            worker.operations[operation](*arguments)
        except KafkaException as exc:
            replies.send("end", _fault(fault_of(exc.args[0])))
        else:
            replies.send("end")


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    # Without waiting for librdkafka's threads, one of which may be unpacking a record.
    os._exit(0)
