"""What the worker process does: it lists groups, describes those of the newer protocol and reads records.

`kafka/worker_process.py` says why these have a process of their own, starts it, and asks. Requests come on
stdin and replies go to stdout, a JSON array in a line each; the first line has librdkafka's properties.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from time import monotonic
from typing import Any, BinaryIO

from confluent_kafka import KafkaError, KafkaException

from klag_trio import allocator
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import Reading
from klag_trio.kafka.batches import batches
from klag_trio.kafka.coordinators import DESCRIPTION, Coordinators, Described
from klag_trio.kafka.faults import fault_of
from klag_trio.kafka.fetcher import Fetcher
from klag_trio.kafka.groups import list_groups
from klag_trio.kafka.limits import limit_memory
from klag_trio.kafka.timestamps import TimestampReader

# In a line, each of which names a client may have made 32 KB long: so that none takes long to read.
_GROUPS_IN_A_LINE = 200
_MEMBERS_IN_A_LINE = 50
_DESCRIBED_AT_ONCE = 200
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
        answer = list_groups(self._coordinators(), timeout)
        groups, errors = ([], [answer]) if isinstance(answer, KafkaError) else answer
        for batch in batches(groups, _GROUPS_IN_A_LINE):
            self._replies.send("came", [[group.name, group.state, group.type] for group in batch], [])
        self._replies.send("came", [], [_fault(fault_of(error)) for error in errors])

    def _describe(self, groups: Sequence[str], timeout: float, within: float) -> None:
        """Ask about each group, and wait at most `timeout` seconds for each and `within` for all."""
        deadline = monotonic() + within
        waiting = iter(groups)

        def send(most: int) -> None:
            for group in islice(waiting, most):
                if (left := deadline - monotonic()) > 0:
                    asking.send(group, min(timeout, left))

        with self._coordinators().asking(DESCRIPTION) as asking:
            send(_DESCRIBED_AT_ONCE)
            while asking.owed:
                if (answered := asking.receive(timeout)) is not None:
                    self._tell(*answered)
                    send(1)

    def _tell(self, group: str, answer: Described | KafkaError) -> None:
        if isinstance(answer, KafkaError):
            self._replies.send("came", group, [], None, _fault(fault_of(answer)))
            return
        for batch in batches(answer.members, _MEMBERS_IN_A_LINE):
            rows = [[each.consumer_id, each.client_id, each.host, each.assignment] for each in batch]
            self._replies.send("came", group, rows)
        self._replies.send("came", group, [], answer.state)

    def _read(self, shards: Sequence[Sequence[Any]], fetch_timeout: float, within: float) -> None:
        """Read the shards side by side, each partition of which is [topic, partition, positions]."""
        while len(self._pass_of) > _TOPICS_REMEMBERED:
            del self._pass_of[next(iter(self._pass_of))]

        def came(reading: Reading) -> None:
            self._replies.send("came", *_reading(reading))

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


def _reading(reading: Reading) -> list[Any]:
    return [
        [
            [*tp, position, record.offset, record.timestamp]
            for (tp, position), record in reading.records.items()
        ],
        [[*tp, place, _fault(fault)] for (tp, place), fault in reading.faults.items()],
        reading.count,
        reading.bytes,
    ]


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
    worker = _Worker(asking, reading, replies)
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
