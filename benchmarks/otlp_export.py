"""What one OTLP export to a real collector costs, and how long it holds up the event loop.

    python -m benchmarks.otlp_export [--runs 5]

Beside ours, the same samples go out through OpenTelemetry's SDK: its data model and its gRPC metric
exporter, in a worker thread. Every run is a process of its own, in which a small export went before; a
collector serves all runs of one kind. Medians are printed, and the longest stall of all runs.
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
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test-stack"))

from benchmarks.reports import blocks_of, report_with
from benchmarks.workload import PRESETS
from klag_trio import allocator, interpreter
from klag_trio.config import Exporter, Otel
from klag_trio.exposition.observation import Observation
from stack.collector import OtelCollector

SIZES = {39_256: PRESETS["L"], 208_006: PRESETS["XL"]}
WARM_UP = 1_000
TIMEOUT_SECONDS = 60.0
SDK_BATCH = 4_000  # samples: about 1 MiB, as ours are
PROBE_SECONDS = 0.001

Export = Callable[[Observation], Awaitable[int]]
"""Sends all that was observed and returns how many samples that were."""


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


def ours(port: int) -> Export:
    from klag_trio.exposition.otlp import Source, requests
    from klag_trio.services.otlp_channel import OtlpChannel
    from klag_trio.services.otlp_settings import read_settings

    exporter = Exporter(otel=Otel(enabled=True, endpoint=f"http://127.0.0.1:{port}"))
    channel = OtlpChannel(read_settings(exporter, {}))

    async def export(observation: Observation) -> int:
        pending = requests([observation], Source({}, "0", observation.at))
        sent = 0
        while (request := await trio.to_thread.run_sync(next, pending, None)) is not None:
            rejected = await channel.send(request.body, TIMEOUT_SECONDS)
            sent += request.samples - rejected.samples
        return sent

    return export


def the_sdks(port: int) -> Export:
    import grpc  # type: ignore[import-untyped]
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import MetricExportResult

    from benchmarks.otlp_sdk import metrics_data
    from klag_trio.exposition.otlp import Source

    exporter = OTLPMetricExporter(
        f"http://127.0.0.1:{port}",
        insecure=True,
        timeout=TIMEOUT_SECONDS,
        compression=grpc.Compression.Gzip,
        max_export_batch_size=SDK_BATCH,
    )

    def blocking(observation: Observation) -> int:
        data = metrics_data([observation], Source({}, "0", observation.at))
        assert exporter.export(data) is MetricExportResult.SUCCESS
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        return sum(len(metric.data.data_points) for metric in metrics)

    async def export(observation: Observation) -> int:
        return await trio.to_thread.run_sync(blocking, observation)

    return export


SUBJECTS: dict[str, Callable[[int], Export]] = {"klag-trio": ours, "SDK": the_sdks}


async def measure(subject: str, samples: int, port: int) -> Cost:
    """Export so many samples once, and a few before to have everything loaded and connected."""
    now = time.time()
    export = SUBJECTS[subject](port)
    await export(_observation(WARM_UP, now))
    observation = _observation(samples, now)
    allocator.give_back()
    # As the program does when all is loaded.
    interpreter.stay_responsive()
    gc.collect()
    before = _reset_peak()
    stalls: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_probe, stalls)
        clock, cpu = time.perf_counter(), time.process_time()
        sent = await export(observation)
        seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
        nursery.cancel_scope.cancel()
    assert sent == samples, f"{sent} of {samples} samples arrived"
    return Cost(seconds, cpu_seconds, (_status("VmHWM") - before) / 1024, max(stalls) * 1000)


def _observation(samples: int, now: float) -> Observation:
    report = report_with(samples, SIZES.get(samples, PRESETS["small"]), now)
    return Observation(now, lambda: blocks_of(report))


async def _probe(stalls: list[float]) -> None:
    while True:
        start = trio.current_time()
        await trio.sleep(PROBE_SECONDS)
        stalls.append(trio.current_time() - start - PROBE_SECONDS)


def _reset_peak() -> int:
    """Start VmHWM anew and return what is resident now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _in_a_process(subject: str, samples: int, port: int) -> Cost:
    command = [sys.executable, "-m", "benchmarks.otlp_export", "--one", subject, str(samples), str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Cost(**json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", nargs=3, metavar=("SUBJECT", "SAMPLES", "PORT"), help="used by itself")
    args = parser.parse_args()
    if args.one:
        allocator.keep_little()
        cost = trio.run(measure, args.one[0], int(args.one[1]), int(args.one[2]))
        print(json.dumps(attrs.asdict(cost)))
        return
    print(f"Python {platform.python_version()}, {platform.machine()}, medians of {args.runs} runs")
    print(f"{'samples':>8}  {'through':<10}{'time':>8}{'CPU':>9}{'memory':>12}{'longest stall':>16}")
    for samples in SIZES:
        for subject in SUBJECTS:
            with tempfile.TemporaryDirectory() as folder, OtelCollector(Path(folder)) as collector:
                costs = [_in_a_process(subject, samples, collector.port) for _ in range(args.runs)]
            seconds, cpu, memory = (
                statistics.median(getattr(cost, name) for cost in costs)
                for name in ("seconds", "cpu_seconds", "memory_mib")
            )
            stall = max(cost.stall_ms for cost in costs)
            print(
                f"{samples:>8,}  {subject:<10}{seconds:>6.2f} s{cpu:>7.2f} s"
                f"{memory:>+8.0f} MiB{stall:>13.1f} ms"
            )


if __name__ == "__main__":
    main()
