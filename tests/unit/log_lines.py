"""Logs a few lines as klag-trio and its libraries do: log_lines.py LEVEL FORMAT."""

from __future__ import annotations

import logging
import sys
from typing import cast

import structlog

from klag_trio import logs
from klag_trio.config import Cluster, Properties

level, form = sys.argv[1:]
logs.configure(level, cast("logs.LogFormat", form))
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
