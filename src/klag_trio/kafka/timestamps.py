"""Reads record timestamps, many partitions per fetch, with a consumer that joins and commits to no group."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from math import inf
from time import monotonic

import attrs

from klag_trio.domain.offsets import TopicPartition
from klag_trio.domain.time_lag import NOT_TRIED, TIMED_OUT, Reading
from klag_trio.kafka.batches import batches
from klag_trio.kafka.chunk import Chunk, Progress
from klag_trio.kafka.fetcher import Fetcher

_MEBIBYTE = 1024 * 1024
# A consumer never forgets a partition that it has read, at 6 KB each: beyond this many it is replaced.
_PARTITIONS_KEPT = 1000


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
    give_up: dict[TopicPartition, float] = attrs.field(factory=dict)
    """When the wait for a partition ends; without an entry it has not begun."""

    def give_up_rest(self) -> None:
        """Say of what has no answer why it has none."""
        for tp, left in self.owed.items():
            fault = TIMED_OUT if tp in self.give_up else NOT_TRIED
            self.progress.faults.update(((tp, position), fault) for position in left)


class TimestampReader:
    """Reads in the thread that calls; it serves one thread at a time.

    `pass_of` remembers which topics have large batches, so that they are read right the next time.
    """

    def __init__(self, connect: Callable[[Mapping[str, str]], Fetcher], pass_of: dict[str, int]) -> None:
        self._connect = connect
        self._pass_of = pass_of
        self._fetcher: Fetcher | None = None
        self._topics: set[str] = set()
        self._partitions: set[TopicPartition] = set()

    def read(
        self,
        wanted: Mapping[TopicPartition, Sequence[int]],
        came: Callable[[Reading], None],
        *,
        fetch_timeout: float,
        within: float,
    ) -> None:
        """Hand over the first record at or after each position, some at a time as they come.

        No partition is waited for longer than `fetch_timeout` seconds, and all end `within` seconds.

        Raises:
            KafkaException: no connection can be made, or no broker tells who leads the partitions.

        """
        self._partitions |= wanted.keys()
        progress = Progress(came)
        owed = {tp: list(positions) for tp, positions in wanted.items()}
        read = _Read(progress, owed, fetch_timeout, monotonic() + within)
        for number in range(len(PASSES)):
            self._run_pass(number, read)
        read.give_up_rest()
        progress.hand_over()
        if len(self._partitions) > _PARTITIONS_KEPT:
            self.close()

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
            for together in batches(turn, PASSES[number].partitions):
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
                    latest, may_stall=may_stall, patience=read.fetch_timeout / 2
                )
                read.progress.hand_over()
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

    def close(self) -> None:
        """Let go of the connection."""
        if self._fetcher is not None:
            self._fetcher.destroy()
        self._fetcher = None
        self._topics = set()
        self._partitions = set()
