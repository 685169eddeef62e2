"""The demo's producers and consumer groups on a Kafka that runs already, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from stack.load import Load

PAUSE_SECONDS = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap_servers")
    parser.add_argument("--running-file", type=Path, help="made once every group has its offsets")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Load(arguments.bootstrap_servers) as load:
            if arguments.running_file is not None:
                arguments.running_file.touch()
            print("all groups have their offsets", flush=True)
            while load.failure is None:
                time.sleep(PAUSE_SECONDS)
    except KeyboardInterrupt:
        return 0
    print(f"the load generator failed: {load.failure!r}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
