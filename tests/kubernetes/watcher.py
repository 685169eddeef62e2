"""A process of its own that asks every replica, over and over, whether it leads and whether it serves lag.

`python watcher.py ADDRESSES OBSERVATIONS`: the first file holds host:port pairs, one a line, and may grow;
the second gets a JSON array an observation: address, what was asked, when the request went out, when the
answer was complete (both on CLOCK_MONOTONIC, in seconds) and whether it was yes. SIGTERM ends it.
"""

from __future__ import annotations

import http.client
import json
import signal
import sys
import threading
import time
from pathlib import Path

PERIOD = 0.02
ASKED = {"/leader": b'"is_leader": true', "/metrics": b"\nkafka_consumergroup_group_sum_lag{"}
# Longer than any replica is frozen: an answer that was under way meanwhile is an answer all the same.
TIMEOUT = 120.0

_stop = threading.Event()
_write = threading.Lock()


def watch(address: str, out: object) -> None:
    host, _, port = address.partition(":")
    while not _stop.is_set():
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
        try:
            while not _stop.is_set():
                started = time.monotonic()
                for path, yes in ASKED.items():
                    sent = time.monotonic()
                    connection.request("GET", path)
                    body = connection.getresponse().read()
                    line = json.dumps([address, path, sent, time.monotonic(), yes in body])
                    with _write:
                        print(line, file=out)  # type: ignore[call-overload]
                _stop.wait(max(0.0, started + PERIOD - time.monotonic()))
        except (OSError, http.client.HTTPException):
            _stop.wait(PERIOD)
        finally:
            connection.close()


def main() -> None:
    addresses, observations = map(Path, sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: _stop.set())
    watched: set[str] = set()
    with observations.open("w") as out:
        while not _stop.is_set():
            for address in addresses.read_text().split():
                if address not in watched:
                    watched.add(address)
                    threading.Thread(target=watch, args=(address, out), daemon=True).start()
            _stop.wait(0.05)
            with _write:
                out.flush()
        with _write:
            out.flush()


if __name__ == "__main__":
    main()
