"""What one OTLP export to a real collector costs, and how long it holds up the event loop.

python -m benchmarks.otlp_export
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from time import process_time

import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test-stack"))

from benchmarks.exposition_speed import NOW, make_report
from collector import OtelCollector
from klag_trio.config import Cluster, Config, Exporter, Otel
from klag_trio.exposition.observation import Observation
from klag_trio.exposition.otlp import Source, points, requests
from klag_trio.exposition.samples import Block, lag_blocks
from klag_trio.services.otlp_channel import OtlpChannel
from klag_trio.services.otlp_settings import read_settings

SIZES = (39_256, 208_006)
PROBE_SECONDS = 0.001


def blocks_of(samples: int) -> list[Block]:
    """Blocks with exactly so many samples."""
    per_partition = 15
    blocks = lag_blocks(
        "bench", {}, make_report(samples // per_partition), partition_series=True, time_lag=True
    )
    total, kept = 0, []
    for block in blocks:
        columns = {}
        for family, column in block.columns.items():
            room = samples - total
            columns[family] = [v if i < room else None for i, v in enumerate(column)]
            total += sum(v is not None for v in columns[family])
        kept.append(Block(block.label_names, block.rows, columns, block.constant))
    rest = make_report(samples - total)
    extra = lag_blocks("rest", {}, rest, partition_series=False, time_lag=False)[0]
    family, column = next(iter(extra.columns.items()))
    return [*kept, Block(extra.label_names, extra.rows, {family: column}, {})]


async def longest_stall(stalls: list[float]) -> None:
    while True:
        start = trio.current_time()
        await trio.sleep(PROBE_SECONDS)
        stalls.append(trio.current_time() - start - PROBE_SECONDS)


async def export(channel: OtlpChannel, blocks: list[Block]) -> int:
    pending = requests([Observation(NOW, lambda: blocks)], Source({}, "0", NOW))
    sent = 0
    while (request := await trio.to_thread.run_sync(next, pending, None)) is not None:
        rejected = await channel.send(request, 30)
        sent += points(request) - rejected.samples
    return sent


async def measure(port: int, samples: int) -> str:
    cluster = Cluster(name="bench", bootstrap_servers="unused:1")
    exporter = Exporter(otel=Otel(enabled=True, endpoint=f"http://127.0.0.1:{port}"))
    config = Config(exporter=exporter, clusters=(cluster,))
    channel = OtlpChannel(read_settings(config.exporter, {}))
    blocks = blocks_of(samples)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stalls: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(longest_stall, stalls)
        clock, cpu = time.perf_counter(), process_time()
        sent = await export(channel, blocks)
        clock, cpu = time.perf_counter() - clock, process_time() - cpu
        nursery.cancel_scope.cancel()
    channel.close()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return (
        f"{sent:,} samples: {clock:.2f} s, {cpu:.2f} s CPU, peak memory +{grown:.0f} MiB, "
        f"longest stall {max(stalls) * 1000:.1f} ms"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, OtelCollector(Path(folder)) as collector:
        for samples in SIZES:
            print(trio.run(measure, collector.port, samples))


if __name__ == "__main__":
    main()
