"""What tests do to a cluster: topics, records, commits, members. A wait has a condition and a deadline."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from tests.broker.member import Member
from tests.broker.records import Record, Timestamps, read, write
from tests.broker.waiting import SECONDS, unique, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

# Right after a start or a move a coordinator answers so; it is ready a moment later.
PASSING = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}


class KafkaDriver:
    """Acts on one cluster. `properties` go to every client, such as those of a login."""

    def __init__(self, bootstrap: str, properties: Mapping[str, str] | None = None) -> None:
        self._common: dict[str, str | int | bool] = {
            "bootstrap.servers": bootstrap,
            "log_level": 3,
            **(properties or {}),
        }
        self._admin = AdminClient({**self._common})
        self._producer: Producer | None = None
        self._open: list[Producer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End what was left open: transactions are aborted."""
        for producer in self._open:
            producer.abort_transaction(SECONDS)
        self._open.clear()
        self._producer = None

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create the topic and return its name once every partition answers."""
        topic = NewTopic(name, partitions, config=dict(config or {}))
        _result(self._admin.create_topics([topic])[name])
        self._wait_for_partitions(name, partitions)
        return name

    def create_topics(self, names: Sequence[str], partitions: int = 1) -> None:
        """Create many topics at once."""
        for created in self._admin.create_topics([NewTopic(name, partitions) for name in names]).values():
            _result(created)
        for name in names:
            self._wait_for_partitions(name, partitions)

    def delete_topic(self, name: str) -> None:
        """Delete the topic and wait until the broker no longer knows it."""
        _result(self._admin.delete_topics([name])[name])
        wait_until(lambda: self._partition_count(name) is None, f"topic {name} is gone")

    def create_partitions(self, topic: str, total: int) -> None:
        """Let the topic have this many partitions in all and wait until every one answers."""
        _result(self._admin.create_partitions([NewPartitions(topic, total)])[topic])
        self._wait_for_partitions(topic, total)

    def configure_topic(self, topic: str, config: Mapping[str, str]) -> None:
        """Set these keys of the topic's configuration and wait until the broker answers with them."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        for done in self._admin.incremental_alter_configs([resource]).values():
            _result(done)
        # The controller has them at once, a broker a moment later.
        wait_until(lambda: config.items() <= self._config_of(topic).items(), f"{topic} has {config}")

    def produce(
        self,
        topic: str,
        partition: int = 0,
        n: int = 1,
        *,
        timestamp_ms: Timestamps = None,
        value_size: int = 20,
        key: Callable[[int], bytes] | None = None,
    ) -> list[Record]:
        """Write n records and return their offsets and timestamps, in order of offset.

        The i-th record has `timestamp_ms(i)` or `timestamp_ms[i]`; None is the time of writing.
        """
        if self._producer is None:
            self._producer = Producer({**self._common, "enable.idempotence": True, "linger.ms": 5})
        return write(
            self._producer, topic, partition, n, timestamp_ms=timestamp_ms, value_size=value_size, key=key
        )

    def produce_transaction(
        self,
        topic: str,
        partition: int = 0,
        n: int = 1,
        *,
        commit: bool | Literal["open"] = True,
        timestamp_ms: Timestamps = None,
        value_size: int = 20,
    ) -> list[Record]:
        """Write n records in one transaction that is committed, aborted, or open until `close`."""
        producer = Producer({**self._common, "transactional.id": unique("transaction"), "linger.ms": 5})
        producer.init_transactions(SECONDS)
        producer.begin_transaction()
        records = write(producer, topic, partition, n, timestamp_ms=timestamp_ms, value_size=value_size)
        if commit == "open":
            self._open.append(producer)
        elif commit:
            producer.commit_transaction(SECONDS)
        else:
            producer.abort_transaction(SECONDS)
        return records

    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Set the committed offsets of a group that has no members; the group is made by it."""
        wanted = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        request = ConsumerGroupTopicPartitions(group, wanted)

        def once() -> bool:
            try:
                answer = self._admin.alter_consumer_group_offsets([request], request_timeout=SECONDS)[
                    group
                ].result()
            except KafkaException as exc:
                return _passing(exc)
            for done in answer.topic_partitions:
                if done.error is not None:
                    return _passing(KafkaException(done.error))
            return True

        wait_until(once, f"the commit of {group}")

    def delete_group(self, group: str) -> None:
        _result(self._admin.delete_consumer_groups([group], request_timeout=SECONDS)[group])

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Remove the records below this offset, which is the earliest one afterwards."""
        wanted = TopicPartition(topic, partition, before_offset)
        for done in self._admin.delete_records([wanted], request_timeout=SECONDS).values():
            _result(done)
        self.wait_for_earliest(topic, partition, before_offset)

    def delete_all_records(self, topic: str, partitions: int, before_offset: int) -> None:
        """The same in all of so many partitions."""
        wanted = [TopicPartition(topic, partition, before_offset) for partition in range(partitions)]
        for done in self._admin.delete_records(wanted, request_timeout=SECONDS).values():
            _result(done)
        for partition in range(partitions):
            self.wait_for_earliest(topic, partition, before_offset)

    def wait_for_earliest(self, topic: str, partition: int, at_least: int, seconds: float = SECONDS) -> int:
        """Wait until retention has come this far and return the earliest offset."""
        what = f"earliest offset of {topic}-{partition} is {at_least}"
        wait_until(lambda: self.watermarks(topic, partition)[0] >= at_least, what, seconds)
        return self.watermarks(topic, partition)[0]

    def watermarks(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """Return the earliest and the latest offset."""
        earliest = self._offset(topic, partition, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        latest = self._offset(topic, partition, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return earliest, latest

    def read(self, topic: str, partition: int = 0, start: int = 0) -> list[Record]:
        """Return what the log holds from this offset on, aborted records included."""
        return read(self._common, topic, partition, start)

    def compact(self, topic: str, partition: int = 0, *, keys: int = 10, rounds: int = 5) -> list[Record]:
        """Write each key `rounds` times, wait until the cleaner has removed records, and return those left.

        The topic must have a cleanup.policy with compact. No record goes any more after the return.
        """
        self._clean(topic, partition, keys, rounds)
        self.configure_topic(topic, {"min.compaction.lag.ms": str(2**62)})
        # The cleaner may be at this topic once more, but it is one thread: when it has been at a topic that
        # was made later, it is done with this one.
        self._clean(self.create_topic(unique("later"), config={"cleanup.policy": "compact"}), 0, 1, 2)
        return self.read(topic, partition)

    @contextmanager
    def consuming(
        self,
        group: str,
        topics: Sequence[str],
        *,
        protocol: Literal["classic", "consumer"] = "classic",
        client_id: str = "klag-test",
        properties: Mapping[str, str | int | bool] | None = None,
    ) -> Iterator[Member]:
        """Join the group for real; the member has its assignment from the first line of the block on."""
        member = Member(
            {
                **self._common,
                "group.id": group,
                "group.protocol": protocol,
                "client.id": client_id,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                **(properties or {}),
            },
            topics,
        )
        try:
            member.wait_until_assigned()
            yield member
        finally:
            member.leave()

    def _clean(self, topic: str, partition: int, keys: int, rounds: int) -> None:
        quick = {"min.cleanable.dirty.ratio": "0.001", "segment.ms": "1", "min.compaction.lag.ms": "0"}
        self.configure_topic(topic, quick)
        first = self.produce(topic, partition, keys * rounds, key=lambda i: b"key-%d" % (i % keys))[0][0]

        def cleaned() -> bool:
            # The cleaner never touches the segment in use; another record, late enough, begins a new one.
            self.produce(topic, partition, 1, key=lambda _: b"roll")
            return self.read(topic, partition, first)[0][0] > first

        wait_until(cleaned, f"the cleaner has been at {topic}-{partition}", 60.0)

    def _offset(self, topic: str, partition: int, spec: OffsetSpec) -> int:
        wanted = TopicPartition(topic, partition)
        answer = self._admin.list_offsets({wanted: spec}, request_timeout=SECONDS)[wanted].result()
        offset: int = answer.offset
        return offset

    def _config_of(self, topic: str) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        described = _result(self._admin.describe_configs([resource])[resource])
        return {key: entry.value for key, entry in described.items()}

    def _partition_count(self, topic: str) -> int | None:
        """How many partitions have a leader; None for an unknown topic."""
        try:
            described = self._admin.describe_topics(TopicCollection([topic]))[topic].result()
        except KafkaException as exc:
            if exc.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise
        return sum(partition.leader is not None for partition in described.partitions)

    def _wait_for_partitions(self, topic: str, partitions: int) -> None:
        wait_until(lambda: self._partition_count(topic) == partitions, f"{topic} has {partitions} partitions")
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(topic, partition): latest for partition in range(partitions)}

        def all_answer() -> bool:
            # The metadata know a partition a moment before its leader does.
            answers = self._admin.list_offsets(wanted, request_timeout=SECONDS).values()
            return all(answer.exception() is None for answer in answers)

        wait_until(all_answer, f"all partitions of {topic} answer")


def _result(future: Future[Any]) -> Any:
    return future.result(SECONDS)


def _passing(exc: KafkaException) -> bool:
    """False for an error that goes by itself, so that a wait goes on; any other is raised."""
    if exc.args[0].code() in PASSING:
        return False
    raise exc
