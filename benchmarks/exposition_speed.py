"""How long it takes to write 100,000 samples: prometheus-client's own writer against ours.

    python -m benchmarks.exposition_speed [--samples 100000] [--runs 7]

Both start from the same blocks of samples, in memory. What is timed is CPU time, which
tells more than the clock does where other programs run beside; the medians of several runs are printed.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import process_time

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from klag_trio.domain.lag import GroupLag, LagReport, PartitionLag, PartitionOffsets
from klag_trio.domain.offsets import GroupState, Member, TopicPartition
from klag_trio.exposition import text
from klag_trio.exposition.samples import Block, lag_blocks

NOW = 1_700_000_000.123
PARTITIONS_PER_TOPIC = 5
PARTITIONS_PER_GROUP = 10


def make_report(partitions: int) -> LagReport:
    """A report of so many partitions with two groups on each."""
    offsets = {
        TopicPartition(f"orders.{i // PARTITIONS_PER_TOPIC:04}", i % PARTITIONS_PER_TOPIC): PartitionOffsets(
            1_000 + i, 9_000_000_000 + 17 * i, NOW
        )
        for i in range(partitions)
    }
    groups: dict[str, GroupLag] = {}
    rows: list[PartitionLag] = []
    for i, (tp, watermarks) in enumerate([*offsets.items(), *offsets.items()]):
        number = i // PARTITIONS_PER_GROUP
        name = f"billing-service-{number:04}"
        rows.append(
            PartitionLag(
                topic=tp.topic,
                partition=tp.partition,
                member=Member(f"{name}-6f1c2b3a-{i:012}", name, f"/10.1.{number % 200}.{i % 200}"),
                earliest=watermarks.earliest,
                committed=watermarks.latest - 3 * i,
                latest=watermarks.latest,
                as_of=NOW,
                time_lag=i / 7,
            )
        )
        if len(rows) == PARTITIONS_PER_GROUP:
            groups[name] = GroupLag(name, GroupState.STABLE, NOW, tuple(rows))
            rows = []
    return LagReport(now=NOW, offsets=offsets, groups=groups, clamped=0)


class Samples(Collector):
    """The same blocks as prometheus-client takes them."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks

    def collect(self) -> Iterator[Metric]:
        for block in self._blocks:
            constant = list(block.constant.values())
            names = [*block.label_names, *block.constant]
            for family, values in block.columns.items():
                metric = GaugeMetricFamily(family.name, family.help, labels=names)
                for row, value in zip(block.rows, values, strict=True):
                    if value is not None:
                        metric.add_metric([*row, *constant], value)
                yield metric


class Ready(Collector):
    """Metrics that are there already, so that only their writing is timed."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def blocks_of(partitions: int) -> list[Block]:
    report = make_report(partitions)
    return lag_blocks("prod", {"env": "eu"}, report, partition_series=True, time_lag=True).blocks


def count(blocks: Iterable[Block]) -> int:
    return sum(value is not None for block in blocks for values in block.columns.values() for value in values)


def library_writer(collector: Collector) -> Callable[[], bytes]:
    """prometheus-client's writer over one collector."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return lambda: generate_latest(registry)


def compressed(chunks: Iterable[bytes]) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join([*map(compressor.compress, chunks), compressor.flush()])


def median_seconds(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = process_time()
        work()
        times.append(process_time() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()

    per_partition = count(blocks_of(1000)) / 1000
    blocks = blocks_of(round(args.samples / per_partition))
    library = library_writer(Samples(blocks))
    library_writing_only = library_writer(Ready(list(Samples(blocks).collect())))

    written = b"".join(text.prefix([text.lines(blocks)]).chunks)
    megabytes = len(written) / 1e6, len(compressed([written])) / 1e6
    print("{} samples, {:.1f} MB, gzipped {:.2f} MB".format(count(blocks), *megabytes))
    print(f"Python {platform.python_version()}, {platform.machine()}, medians of {args.runs} runs")

    def line(what: str, theirs: float, ours: float) -> None:
        print(f"{what:<22}{theirs:>18.3f} s{ours:>12.3f} s{theirs / ours:>8.1f} x")

    print(f"{'':<22}{'prometheus-client':>20}{'klag-trio':>14}{'ratio':>10}")
    ours = median_seconds(lambda: text.lines(blocks), args.runs)
    line("plain", median_seconds(library, args.runs), ours)
    line("plain, writing only", median_seconds(library_writing_only, args.runs), ours)
    line(
        "plain and gzip",
        median_seconds(lambda: compressed([library()]), args.runs),
        median_seconds(lambda: text.prefix([text.lines(blocks)]), args.runs),
    )


if __name__ == "__main__":
    main()
