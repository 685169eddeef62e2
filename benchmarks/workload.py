"""What a broker is filled with, as pure arithmetic: every offset and timestamp can be computed again."""

from __future__ import annotations

import attrs

MOVING_SHARE = 10  # one group in ten moves between two cycles


@attrs.frozen
class Workload:
    """Topics with records, and groups with commits on them.

    Partitions are numbered across topics. Three in four of them lag; on the others every group has
    consumed all there is. Groups that share a partition have committed the same offset there.
    """

    name: str
    topics: int
    partitions: int  # of each topic
    records: int  # in each partition
    groups: int
    group_partitions: int  # of each group
    record_bytes: int = 100

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{field.name} is {value}; it has to be 1 or more")
        if self.group_partitions > self.partition_count:
            raise ValueError(f"group_partitions is more than all {self.partition_count} partitions")

    @property
    def partition_count(self) -> int:
        return self.topics * self.partitions

    @property
    def lagging_group_partitions(self) -> int:
        return sum(self.lags(p) for g in range(self.groups) for p in self.partitions_of(g))

    @property
    def distinct_offsets(self) -> int:
        """How many (partition, offset) pairs lag, and so have to be read when nothing is known."""
        return len({p for g in range(self.groups) for p in self.partitions_of(g) if self.lags(p)})

    @property
    def whitelist(self) -> str:
        """The expression that all its topics and groups match, and those of other workloads do not."""
        return f"^bench-{self.name}-.*$"

    def topic(self, index: int) -> str:
        return f"bench-{self.name}-{index:05d}"

    def group(self, index: int) -> str:
        return f"{self.group_prefix}{index:05d}"

    @property
    def group_prefix(self) -> str:
        return f"bench-{self.name}-group-"

    def place(self, number: int) -> tuple[str, int]:
        """Topic and partition id of the partition with this number."""
        return self.topic(number // self.partitions), number % self.partitions

    def partitions_of(self, group: int) -> list[int]:
        first = group * self.group_partitions
        return [(first + i) % self.partition_count for i in range(self.group_partitions)]

    def lags(self, number: int) -> bool:
        return number % 4 < 3

    def committed(self, group: int, number: int, step: int = 0) -> int:
        """The group's committed offset after so many moving steps; a lagging one never reaches the end."""
        if not self.lags(number):
            return self.records
        return (number * 7 + _moves(group, step)) % self.records

    def moving_groups(self, step: int) -> list[int]:
        """The groups whose commits step number 1, 2, ... moves: one in ten, each in its turn."""
        return [g for g in range(self.groups) if g % MOVING_SHARE == step % MOVING_SHARE]

    def moved_offsets(self, step: int) -> int:
        """How many distinct (partition, offset) pairs are new after that step."""
        return len({p for g in self.moving_groups(step) for p in self.partitions_of(g) if self.lags(p)})

    def timestamp_ms(self, base_ms: int, number: int, offset: int) -> int:
        """The timestamp that the record at this offset was given."""
        return base_ms + offset * 1000 + number % 1000


def _moves(group: int, step: int) -> int:
    turn = group % MOVING_SHARE or MOVING_SHARE
    return (step - turn + MOVING_SHARE) // MOVING_SHARE if step >= turn else 0


PRESETS = {
    w.name: w
    for w in (
        Workload("small", topics=10, partitions=5, records=100, groups=10, group_partitions=5),
        Workload("L", topics=1000, partitions=5, records=100, groups=500, group_partitions=10),
        Workload("XL", topics=2000, partitions=4, records=20, groups=4000, group_partitions=8),
    )
}
