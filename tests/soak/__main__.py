"""`make soak`: klag-trio for thousands of cycles on a cluster whose topics and groups come and go.

Two of them run beside each other on the same cluster, one that recycles its Kafka clients and one that does
not. What they hold goes into a JSON file and a picture. The exit code is 1 where the first one holds a tenth
more memory at the end than early on, or ever more threads or descriptors, or does not show what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.broker.waiting import SECONDS, wait_until
from tests.program.program import Page, config_text, running
from tests.soak.churn import LAG_OF_A_GROUP, Churn
from tests.soak.measured import Measured
from tests.soak.picture import draw

from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Sequence

RECYCLE = 50
BASELINE = 200
# How long nothing comes or goes while threads and descriptors are counted: records are read no more, and the
# workers that nobody needs have ended, which they do after 10 s.
AT_REST = 30
GROWTH_ALLOWED = 0.10
ALIVE = 30
LOOK_SECONDS = 0.05
# A cycle that Kafka or the machine holds up for a minute is a failure of the run, not of the memory.
STUCK_SECONDS = 60.0
CLUSTER = "churned"
SUM_LAG = "kafka_consumergroup_group_sum_lag"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--cycles", type=int, default=2000)
    parser.add_argument("--interval", type=float, default=0.5, help="the poll interval in seconds")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two topics")
    parser.add_argument("--into", type=Path, default=Path(".cache/soak"))
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    found = soak(arguments.cycles, arguments.interval, arguments.pause, arguments.into)
    (arguments.into / "soak.json").write_text(json.dumps(found) + "\n")
    (arguments.into / "soak.svg").write_text(draw(found))
    for run in found["runs"]:
        early, end = run["early"], run["end"]
        print(
            f"recycling {run['recycle'] or 'off'}: {run['cycles']} cycles, {run['failed']} failed, "
            f"resident {early['resident_mib']:.1f} MiB after {early['cycle']}, {end['resident_mib']:.1f} at "
            f"the end, threads {early['threads']} and {end['threads']}, "
            f"descriptors {early['descriptors']} and {end['descriptors']}"
        )
    faults = complaints(found["runs"][0])
    print("\n".join(faults) or f"{found['topics']} topics and as many groups came and went: steady")
    return 1 if faults else 0


def soak(cycles: int, interval: float, pause: float, folder: Path) -> dict[str, Any]:
    """Run until both have done so many cycles and return what was measured."""
    # A thousand topics' index files of Kafka's usual size would fill a small disk.
    properties = {"log.index.size.max.bytes": "4096", "log.segment.bytes": "1048576"}
    started = time.monotonic()
    with (
        KafkaCluster(properties=properties) as cluster,
        Churn(cluster.bootstrap_servers, ALIVE, pause) as churn,
    ):
        with ExitStack() as stack:
            runs = [
                Measured(recycle, stack.enter_context(_program(cluster, folder, recycle, interval)))
                for recycle in (RECYCLE, 0)
            ]
            early = _measure(runs, churn, min(BASELINE, cycles // 2))
            churn.start()
            end = _measure(runs, churn, cycles)
            took = time.monotonic() - started
            left = {pair.group for pair in churn.stop()}
            shown = [_shows(run, left) for run in runs]
        return {
            "date": time.strftime("%Y-%m-%d"),
            "cores": os.cpu_count(),
            "seconds": round(took),
            "interval": interval,
            "topics": churn.made,
            "runs": [
                {
                    "recycle": run.recycle,
                    "cycles": run.cycles,
                    "failed": run.failed,
                    "shows_what_is_left": shown[number],
                    "early": early[number],
                    "end": end[number],
                    "samples": run.samples,
                }
                for number, run in enumerate(runs)
            ],
        }


def _measure(runs: Sequence[Measured], churn: Churn, cycle: int) -> list[dict[str, float]]:
    """Go on to this cycle, let the churning rest, and tell what each holds."""
    _watch(runs, churn, cycle)
    memory = [{"cycle": run.cycles, "resident_mib": run.mean(run.cycles, RECYCLE)} for run in runs]
    churn.stop()
    _watch(runs, churn, max(run.cycles for run in runs) + AT_REST)
    return [kept | run.usual(AT_REST)._asdict() for kept, run in zip(memory, runs, strict=True)]


def complaints(run: dict[str, Any]) -> list[str]:
    """What a run did that it may not: a line each."""
    found = []
    before, after = run["early"], run["end"]
    growth = after["resident_mib"] / before["resident_mib"] - 1
    if growth > GROWTH_ALLOWED:
        found.append(f"resident memory grew by {growth:.0%} since cycle {before['cycle']}")
    found += [
        f"{after[what]} {what}, {before[what]} at cycle {before['cycle']}"
        for what in ("threads", "descriptors")
        if after[what] > before[what]
    ]
    if not run["shows_what_is_left"]:
        found.append("the last groups are not shown as they are")
    return found


def _program(cluster: KafkaCluster, folder: Path, recycle: int, interval: float) -> Any:
    own = folder / f"recycle-{recycle}"
    own.mkdir(exist_ok=True)
    exporter = {
        "poll_interval": f"{round(interval * 1000)}ms",
        "staleness_threshold": "30s",
        "performance": {"client_recycle_interval": recycle},
    }
    text = config_text([{"name": CLUSTER, "bootstrap_servers": cluster.bootstrap_servers}], exporter)
    # At debug level every cycle is told in a line.
    return running(own, text, "--log-level", "debug")


def _watch(runs: Sequence[Measured], churn: Churn, cycles: int) -> None:
    progressed, told = time.monotonic(), 0
    while (done := min(run.cycles for run in runs)) < cycles:
        for run in runs:
            run.look()
        churn.check()
        if min(run.cycles for run in runs) > done:
            progressed = time.monotonic()
        elif time.monotonic() - progressed > STUCK_SECONDS:
            raise TimeoutError(f"no cycle for {STUCK_SECONDS:.0f} s after {done}")
        if done >= told + 100:
            told = done
            print(", ".join(f"{run.samples[-1]}" for run in runs), flush=True)
        time.sleep(LOOK_SECONDS)


def _shows(run: Measured, groups: set[str]) -> bool:
    """Whether the program comes to show exactly these groups, each with its lag."""
    expected = dict.fromkeys(groups, float(LAG_OF_A_GROUP))

    def seen(page: Page) -> dict[str, float]:
        rows = page.rows(SUM_LAG, cluster_name=CLUSTER).items()
        return {dict(labels)["group"]: lag for labels, lag in rows}

    try:
        wait_until(lambda: seen(run.program.metrics()) == expected, "the groups that are left", SECONDS)
    except AssertionError as exc:
        print(f"recycling {run.recycle}: {exc}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
