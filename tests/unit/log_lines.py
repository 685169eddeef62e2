"""Logs a few lines as klag-trio and its libraries do, into a file LEVEL.FORMAT each: log_lines.py FOLDER.

In a process of its own each time, since logging is set up once per process.
"""

from __future__ import annotations

import logging
import os
import sys
from itertools import product
from pathlib import Path
from typing import cast

import structlog

from klag_trio import logs
from klag_trio.config import Cluster, Properties


def log_lines(level: str, form: str) -> None:
    log_to_stderr = logs.configure(level, cast("logs.LogFormat", form))
    log = structlog.get_logger("klag_trio.test").bind(cluster="prod")
    log.debug("a debug line")
    log.info("an info line", group="app", lag=2**60)
    log.warning("a warning line")
    log.error("an error line")
    logging.getLogger("library").info("a library's info line")
    logging.getLogger("library").warning("a library's %s line", "warning")
    password = "tell-nobody"
    cluster = Cluster(
        name="prod", bootstrap_servers="unused:1", consumer_properties=Properties({"sasl.password": password})
    )
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        log.exception("a traceback", about=cluster)
    structlog.get_logger("klag_trio.test").info("a hostile line", group="evil\x1b[2J")
    structlog.get_logger("klag_trio.test").info("a long line", group="g" * 2000)
    log_to_stderr.flush(60)
    assert log_to_stderr.dropped == 0


for level, form in product(logs.LEVELS, ("text", "json")):
    if os.fork() == 0:
        with (Path(sys.argv[1]) / f"{level}.{form}").open("w") as file:
            os.dup2(file.fileno(), 2)
        log_lines(level, form)
        os._exit(0)
    _, status = os.wait()
    assert status == 0
