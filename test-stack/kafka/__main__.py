"""`python test-stack/kafka start [--nodes N] [--kafka VERSION]`: a cluster until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

# Run by its folder's name, Python puts the folder itself on the path; the package is one above.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from kafka import CURRENT, KafkaCluster, StackError  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="test-stack/kafka", description="A real Apache Kafka on loopback ports."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="run a cluster until Ctrl-C")
    start.add_argument("--nodes", type=int, default=1, help="brokers, each a process (default: 1)")
    start.add_argument(
        "--kafka", default=CURRENT, metavar="VERSION", help="Apache Kafka's version (default: %(default)s)"
    )
    start.add_argument(
        "--property", action="append", default=[], metavar="KEY=VALUE", help="a broker property"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    properties = dict(entry.split("=", 1) for entry in arguments.property)
    try:
        with KafkaCluster(arguments.nodes, arguments.kafka, properties=properties) as cluster:
            print(cluster.bootstrap_servers, flush=True)
            while all(node.running for node in cluster.nodes):
                signal.sigtimedwait([], 0.5)
            raise StackError(
                "\n".join(f"a node ended:\n{node.log()}" for node in cluster.nodes if not node.running)
            )
    except StackError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
