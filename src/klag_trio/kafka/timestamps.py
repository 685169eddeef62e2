"""Reads record timestamps, many partitions per fetch, with a consumer that joins and commits to no group."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from itertools import islice
from math import inf
from time import monotonic

import attrs
from confluent_kafka import KafkaError, KafkaException

from klag_trio import allocator
from klag_trio.domain.offsets import Fault, TopicPartition
from klag_trio.domain.time_lag import NOT_ALONE, NOT_TRIED, Reading
from klag_trio.kafka.chunk import TIMED_OUT, Chunk, Progress
from klag_trio.kafka.fetcher import Fetcher

_MEBIBYTE = 1024 * 1024
# A consumer never forgets a partition that it has read, at 6 KB each: beyond this many it is replaced.
_PARTITIONS_KEPT = 1000
# After so many partitions in a row, each read alone, that bring nothing.
_SILENT_IN_A_ROW = 2


@attrs.frozen
class Pass:
    """How much is fetched of a partition, and of how many partitions at a time.

    A broker leaves out of an answer each partition whose next batch is larger than the limit, except the
    first one. Batches of up to 16 KiB, the default of producers, come in the first pass for the price of
    16 KiB a partition; a topic with larger ones is found out by its silence and read by a later pass.
    """

    fetch_bytes: int
    partitions: int


# librdkafka looks at every partition that it has each time a fetch is due, so that fewer at a time cost less
# until their answers get too small to be worth a request: 250 to 500 took the same time, 1,000 a fifth more
# and 4,000 twice as much.
PASSES = (
    Pass(fetch_bytes=16 * 1024, partitions=400),
    Pass(fetch_bytes=256 * 1024, partitions=64),
    Pass(fetch_bytes=_MEBIBYTE, partitions=16),
)

_OWN_PROPERTIES: Mapping[str, str] = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "auto.offset.reset": "error",
    "enable.partition.eof": "true",
    "isolation.level": "read_uncommitted",
    "allow.auto.create.topics": "false",
    # Where a sum does not match, librdkafka goes on reading at a wrong place of the answer (up to 2.16 at
    # least): it misses other partitions, or aborts the process.
    "check.crcs": "false",
    # One answer of a broker. It bounds memory: gzip makes up to 1,032 bytes of each.
    "fetch.max.bytes": str(_MEBIBYTE),
    "queued.min.messages": "1",
    "fetch.wait.max.ms": "10",
    # librdkafka waits a second by default before it fetches again what it has no room for.
    "fetch.queue.backoff.ms": "1",
    "fetch.error.backoff.ms": "0",
}


def _properties(fetch: Pass) -> dict[str, str]:
    """Give a reader's own properties; the group.id names no group that exists."""
    return {
        **_OWN_PROPERTIES,
        "group.id": f"klag-trio-{secrets.token_hex(8)}",
        "max.partition.fetch.bytes": str(fetch.fetch_bytes),
    }


@attrs.define
class _Read:
    """One read under way."""

    progress: Progress
    owed: dict[TopicPartition, list[int]]
    fetch_timeout: float
    deadline: float
    abandoned: Callable[[], bool]
    give_up: dict[TopicPartition, float] = attrs.field(factory=dict)
    """When the wait for a partition ends; without an entry it has not begun."""

    def give_up_rest(self, failed: Fault | None) -> None:
        """Say of what has no answer why it has none."""
        for tp, left in self.owed.items():
            fault = failed or (TIMED_OUT if tp in self.give_up else NOT_TRIED)
            self.progress.faults.update(((tp, position), fault) for position in left)


class TimestampReader:
    """Reads in the thread that calls; it serves one thread at a time.

    `pass_of` remembers which topics have large batches, so that they are read right the next time.
    """

    def __init__(
        self,
        connect: Callable[[Mapping[str, str]], Fetcher],
        describe: Callable[[KafkaError], Fault],
        pass_of: dict[str, int],
    ) -> None:
        self._connect = connect
        self._describe = describe
        self._pass_of = pass_of
        self._fetcher: Fetcher | None = None
        self._topics: set[str] = set()
        self._partitions: set[TopicPartition] = set()

    def read(
        self,
        wanted: Mapping[TopicPartition, Sequence[int]],
        *,
        fetch_timeout: float,
        deadline: float,
        abandoned: Callable[[], bool],
    ) -> Reading:
        """Give the first record at or after each position.

        No partition is waited for longer than `fetch_timeout` seconds, and none beyond `deadline` on
        `time.monotonic`'s clock.
        """
        self._partitions |= wanted.keys()
        progress = Progress(self._describe)
        owed = {tp: list(positions) for tp, positions in wanted.items()}
        read = _Read(progress, owed, fetch_timeout, deadline, abandoned)
        failed: Fault | None = None
        try:
            for number in range(len(PASSES)):
                self._run_pass(number, read)
                if len(wanted) > 1 and any(tp in read.give_up for tp in owed):
                    # What the next pass fetches again is not to be unpacked twice at the same time.
                    self._end_kept((deadline - monotonic()) / 2)
        except KafkaException as exc:
            failed = self._describe(exc.args[0])  # what was read before stays
        read.give_up_rest(failed)
        if len(self._partitions) > _PARTITIONS_KEPT:
            self.close()
        allocator.give_back()
        return progress.reading()

    def read_alone(
        self,
        wanted: Mapping[TopicPartition, Sequence[int]],
        *,
        fetch_timeout: float,
        deadline: float,
        abandoned: Callable[[], bool],
    ) -> Reading:
        """Give the same of one partition at a time, so that none can take another's time or connection.

        Where several in a row bring nothing their leader does not answer, and the others are not tried.
        """
        progress = Progress(self._describe)
        owed = {tp: list(positions) for tp, positions in wanted.items()}
        failed: Fault | None = None
        silent = 0
        fetcher: Fetcher | None = None
        try:
            for tp in list(owed):
                now = monotonic()
                if now >= deadline or abandoned() or silent == _SILENT_IN_A_ROW:
                    break
                if fetcher is None:
                    fetcher = self._connect(_properties(PASSES[-1]))
                    fetcher.find_leaders(min(fetch_timeout, deadline - now))
                part = {tp: owed[tp]}
                latest = min(deadline, monotonic() + fetch_timeout)
                Chunk(fetcher, part, progress).read(
                    latest, abandoned, may_stall=False, patience=fetch_timeout / 2
                )
                silent = silent + 1 if part else 0
                del owed[tp]
                if part:
                    progress.faults.update(((tp, position), TIMED_OUT) for position in part[tp])
                    _end_soon(fetcher, (deadline - monotonic()) / 2)
                    fetcher = None
        except KafkaException as exc:
            failed = self._describe(exc.args[0])
        finally:
            if fetcher is not None:
                fetcher.destroy()
        for tp, left in owed.items():
            progress.faults.update(((tp, position), failed or NOT_ALONE) for position in left)
        allocator.give_back()
        return progress.reading()

    def _run_pass(self, number: int, read: _Read) -> None:
        def gives_up(tp: TopicPartition) -> float:
            return read.give_up.get(tp, inf)

        now = monotonic()
        turn = [tp for tp in read.owed if self._pass_of.get(tp.topic, 0) <= number and gives_up(tp) > now]
        if not turn or now >= read.deadline:
            return
        # A chunk is waited for until its last one is given up: those together that are so at about one time.
        turn.sort(key=gives_up)
        may_stall = number < len(PASSES) - 1
        seconds = min(read.fetch_timeout, read.deadline - now)
        with self._lent_fetcher(number, {tp.topic for tp in turn}, seconds) as fetcher:
            for together in _chunks(turn, PASSES[number].partitions):
                now = monotonic()
                if now >= read.deadline:
                    return
                chunk = [tp for tp in together if gives_up(tp) > now]
                if not chunk:
                    continue
                for tp in chunk:
                    read.give_up.setdefault(tp, now + read.fetch_timeout)
                latest = min(read.deadline, max(read.give_up[tp] for tp in chunk))
                part = {tp: read.owed[tp] for tp in chunk}
                Chunk(fetcher, part, read.progress).read(
                    latest, read.abandoned, may_stall=may_stall, patience=read.fetch_timeout / 2
                )
                for tp in chunk:
                    if tp not in part:
                        del read.owed[tp]
                        if number:
                            self._pass_of[tp.topic] = number

    @contextmanager
    def _lent_fetcher(self, number: int, topics: Set[str], seconds: float) -> Iterator[Fetcher]:
        """Lend the fetcher of a pass: the first one's is kept for a while, the others' are rarely needed."""
        if number:
            fetcher = self._connect(_properties(PASSES[number]))
            try:
                fetcher.find_leaders(seconds)
                yield fetcher
            finally:
                fetcher.destroy()
            return
        fetcher = self._fetcher or self._connect(_properties(PASSES[0]))
        self._fetcher = None  # and stays so after an error: the next read starts with a new one
        try:
            if not topics <= self._topics:
                fetcher.find_leaders(seconds)
                self._topics |= topics
            yield fetcher
        except BaseException:
            fetcher.destroy()
            raise
        self._fetcher = fetcher

    def _end_kept(self, seconds: float) -> None:
        if self._fetcher is not None:
            _end_soon(self._fetcher, seconds)
            self._forget()

    def close(self) -> None:
        """Let go of the connection."""
        if self._fetcher is not None:
            self._fetcher.destroy()
            self._forget()

    def _forget(self) -> None:
        self._fetcher = None
        self._topics = set()
        self._partitions = set()


def _end_soon(fetcher: Fetcher, seconds: float) -> None:
    """End a connection, and wait at most so long: librdkafka may be unpacking what it got from it.

    Where that takes seconds and a gigabyte, the next connection is not to do the same at the same time.
    """
    ending = threading.Thread(target=fetcher.destroy, name="klag-trio end", daemon=True)
    ending.start()
    ending.join(max(0.0, seconds))


def _chunks(partitions: Sequence[TopicPartition], size: int) -> Iterator[list[TopicPartition]]:
    iterator = iter(partitions)
    while chunk := list(islice(iterator, size)):
        yield chunk
