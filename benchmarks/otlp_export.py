"""What one OTLP export to a real collector costs, and how long it holds up the event loop.

    python -m benchmarks.otlp_export [--runs 5]

Every run is a process of its own, in which a small export went before; a collector serves all runs of one
kind. Medians are printed, and the longest stall of all runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs
import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test-stack"))

from benchmarks.reports import blocks_of, report_with
from benchmarks.workload import PRESETS
from klag_trio import allocator, interpreter
from klag_trio.config import Exporter, Otel
from klag_trio.exposition.samples import LazyBlocks
from klag_trio.otlp.data import Source, parts
from klag_trio.otlp.exporter import Exporter as OtlpExporter
from klag_trio.otlp.settings import Protocol, read_settings
from stack.collector import OtelCollector

SIZES = {39_256: PRESETS["L"], 208_006: PRESETS["XL"]}
WARM_UP = 1_000
TIMEOUT_SECONDS = 60.0
PROBE_SECONDS = 0.001


@attrs.frozen
class Cost:
    """What one export took."""

    seconds: float
    cpu_seconds: float
    """User and system time of the whole process."""
    memory_mib: float
    """What resident memory rose by at most."""
    stall_ms: float
    """The longest wait of the event loop for its turn."""


PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf")


async def measure(protocol: Protocol, samples: int, endpoint: str) -> Cost:
    """Export so many samples once, and a few before to have everything loaded and connected."""
    now = time.time()
    otel = Otel(enabled=True, protocol=protocol, endpoint=endpoint)
    environ = {"OTEL_EXPORTER_OTLP_TIMEOUT": f"{TIMEOUT_SECONDS * 1000:.0f}"}
    exporter = OtlpExporter(read_settings(Exporter(otel=otel), environ))
    await _export(exporter, _blocks(WARM_UP, now))
    make = _blocks(samples, now)
    allocator.give_back()
    # As the program does when all is loaded.
    interpreter.stay_responsive()
    gc.collect()
    before = _reset_peak()
    stalls: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_probe, stalls)
        clock, cpu = time.perf_counter(), time.process_time()
        sent = await _export(exporter, make)
        seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
        nursery.cancel_scope.cancel()
    exporter.close()
    assert sent == samples, f"{sent} of {samples} samples arrived"
    return Cost(seconds, cpu_seconds, (_status("VmHWM") - before) / 1024, max(stalls) * 1000)


async def _export(exporter: OtlpExporter, make: LazyBlocks) -> int:
    """Send all of it, as the pusher does, and return how many samples that were."""
    now = time.time()
    pending = parts([make], Source({}, "0", now), at=now)
    sent = 0
    while (part := await trio.to_thread.run_sync(next, pending, None)) is not None:
        await exporter.export(part)
        metrics = part.resource_metrics[0].scope_metrics[0].metrics
        sent += sum(len(metric.data.data_points) for metric in metrics)
    return sent


def _blocks(samples: int, now: float) -> LazyBlocks:
    report = report_with(samples, SIZES.get(samples, PRESETS["small"]), now)
    return lambda: blocks_of(report)


async def _probe(stalls: list[float]) -> None:
    while True:
        start = trio.current_time()
        await trio.sleep(PROBE_SECONDS)
        stalls.append(trio.current_time() - start - PROBE_SECONDS)


def _reset_peak() -> int:
    """Start VmHWM over and return what is resident now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _in_a_process(protocol: Protocol, samples: int, endpoint: str) -> Cost:
    command = [sys.executable, "-m", "benchmarks.otlp_export", "--one", protocol, str(samples), endpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Cost(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", nargs=3, metavar=("PROTOCOL", "SAMPLES", "ENDPOINT"), help="used by itself")
    args = parser.parse_args()
    if args.one:
        allocator.keep_little()
        cost = trio.run(measure, args.one[0], int(args.one[1]), args.one[2])
        print(json.dumps(attrs.asdict(cost)))
        return
    print(f"Python {platform.python_version()}, {platform.machine()}, medians of {args.runs} runs")
    print(f"{'samples':>8}  {'over':<14}{'time':>8}{'CPU':>9}{'memory':>12}{'longest stall':>16}")
    for samples in SIZES:
        for protocol in PROTOCOLS:
            with tempfile.TemporaryDirectory() as folder, OtelCollector(Path(folder)) as collector:
                endpoint = collector.endpoint(protocol)
                costs = [_in_a_process(protocol, samples, endpoint) for _ in range(args.runs)]
            seconds, cpu, memory = (
                statistics.median(getattr(cost, name) for cost in costs)
                for name in ("seconds", "cpu_seconds", "memory_mib")
            )
            stall = max(cost.stall_ms for cost in costs)
            print(
                f"{samples:>8,}  {protocol:<14}{seconds:>6.2f} s{cpu:>7.2f} s"
                f"{memory:>+8.0f} MiB{stall:>13.1f} ms"
            )


if __name__ == "__main__":
    main()
