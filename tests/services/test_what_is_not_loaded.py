"""Who does not push, has no web config file, or looks at no page, pays nothing for it."""

from __future__ import annotations

import subprocess
import sys

# Runs the whole nursery tree, with a cluster that is not there, and stops it from outside as a signal would.
PROGRAM = '''
import os, sys, trio, trio.testing
from klag_trio import app
from klag_trio.config import Cluster, Config, Exporter, Otel

config = Config(
    exporter=Exporter(http_host="127.0.0.1", http_port=0, otel=Otel(enabled=sys.argv[1] == "on")),
    clusters=(Cluster(name="a", bootstrap_servers="127.0.0.1:1"),),
)

class Last(trio.abc.Instrument):
    """Waits for what starts last."""

    spawned = trio.Event()

    def task_spawned(self, task):
        if task.name.endswith("Collector.run"):
            self.spawned.set()

async def main():
    async with trio.open_nursery() as nursery:
        trio.lowlevel.add_instrument(last := Last())
        nursery.start_soon(app.run, config, app.Web())
        await last.spawned.wait()
        await trio.testing.wait_all_tasks_blocked(0.2)
        wanted_by_few = {"opentelemetry", "grpc", "yaml", "bcrypt", "httpx", "quart", "flask", "jinja2"}
        loaded = wanted_by_few & {name.partition(".")[0] for name in sys.modules}
        resident = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
        print(sorted(loaded), resident.split()[1], flush=True)
        os._exit(0)

trio.run(main)
'''


def loaded(enabled: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, enabled], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()[-1]


def test_nothing_is_loaded_for_what_is_off() -> None:
    assert loaded("off").startswith("[] ")
    assert loaded("on").startswith("['grpc', 'opentelemetry'] ")
