"""A single replica pays nothing for the election."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys
os.environ["KUBECONFIG"] = os.devnull
from klag_trio import app, cli
from klag_trio.config import Leadership

try:
    app.candidacy(Leadership(enabled=sys.argv[1] == "on"))
except app.StartError:
    pass
print("httpx" in sys.modules)
"""


def loaded(enabled: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, enabled], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_no_http_client_is_loaded_while_it_is_off() -> None:
    assert "False" == loaded("off")
    assert "True" == loaded("on")
