"""Who does not push, has no web config file or holds no election, pays nothing for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# In one process for all tests here.
pytestmark = pytest.mark.xdist_group("loaded")

# Prints what is loaded after each of: all imports of the program; the whole nursery tree with a cluster that
# is not there; an election that is off; one that is on; and a second such tree, which pushes.
PROGRAM = '''
import json, os, sys, trio, trio.testing
os.environ["KUBECONFIG"] = os.devnull
from klag_trio import app, cli
from klag_trio.config import Cluster, Config, Exporter, Leadership, Otel

def tell():
    print(json.dumps(sorted(sys.modules)), flush=True)

def enter(enabled):
    try:
        app.candidacy(Leadership(enabled=enabled))
    except app.StartError:
        pass
    tell()

class Last(trio.abc.Instrument):
    """Waits for what starts last."""

    def __init__(self):
        self.spawned = trio.Event()

    def task_spawned(self, task):
        if task.name.endswith("_collect.<locals>.collect"):
            self.spawned.set()

async def start(nursery, otel):
    exporter = Exporter(http_host="127.0.0.1", http_port=0, otel=Otel(enabled=otel))
    config = Config(exporter=exporter, clusters=(Cluster(name="a", bootstrap_servers="127.0.0.1:1"),))
    last = Last()
    trio.lowlevel.add_instrument(last)
    nursery.start_soon(app.run, config, app.Web(), lambda: 0)
    await last.spawned.wait()
    await trio.testing.wait_all_tasks_blocked(0.2)
    tell()

async def main():
    tell()
    async with trio.open_nursery() as nursery:
        await start(nursery, False)
        enter(False)
        enter(True)
        await start(nursery, True)
        os._exit(0)

trio.run(main)
'''
FEW_WANT = {"opentelemetry", "grpc", "requests", "yaml", "bcrypt", "httpx"}


@pytest.fixture(scope="module")
def loaded() -> list[set[str]]:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=100)
    return [set(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def test_nothing_is_loaded_for_what_is_off(loaded: list[set[str]]) -> None:
    _, all_off, _, _, pushing = loaded
    assert set() == FEW_WANT & all_off
    assert "opentelemetry" in pushing


def test_no_http_client_is_loaded_while_there_is_no_election(loaded: list[set[str]]) -> None:
    _, _, off, on, _ = loaded
    assert ["httpx" in found for found in (off, on)] == [False, True]
