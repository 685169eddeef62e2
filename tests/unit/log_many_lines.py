"""Logs 40,000 lines in four threads, and four that cannot be shown; prints how many were lost.

It goes on with a line on its stdin, once they are logged.
"""

from __future__ import annotations

import logging
import sys
import threading

import structlog

from klag_trio import logs


class Hidden:
    def __repr__(self) -> str:
        raise ValueError


def log_lines(number: int) -> None:
    ours, library = structlog.get_logger("klag_trio.test"), logging.getLogger("library")
    for line in range(5_000):
        ours.info("a line of ours", thread=number, line=line)
        library.warning("a line of a library: %d %d", number, line)
    ours.info("a line that cannot be shown", hidden=Hidden())


log = logs.configure("info", "text")
threads = [threading.Thread(target=log_lines, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("logged", flush=True)  # noqa: T201
sys.stdin.readline()
log.flush(60)
print(log.dropped, flush=True)  # noqa: T201
