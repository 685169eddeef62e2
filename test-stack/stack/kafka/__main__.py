"""`python test-stack kafka start`: a cluster until Ctrl-C. `... fetch`: what starts need, ahead of them."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from stack.kafka import CURRENT, OLDEST, KafkaCluster, StackError
from stack.kafka.jars import jars, java
from stack.kafka.prepared import make_class_archive


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python test-stack kafka", description="A real Apache Kafka on loopback ports."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="run a cluster until Ctrl-C")
    start.add_argument("--nodes", type=int, default=1, help="brokers, each a process (default: 1)")
    start.add_argument(
        "--kafka", default=CURRENT, metavar="VERSION", help="the version (default: %(default)s)"
    )
    start.add_argument(
        "--property", action="append", default=[], metavar="KEY=VALUE", help="a broker property"
    )
    fetch = commands.add_parser("fetch", help="check Java and fetch Kafka's jars where they are missing")
    fetch.add_argument("versions", nargs="*", default=[CURRENT, OLDEST], help="(default: %(default)s)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.command == "fetch":
            java()
            for version in arguments.versions:
                print(jars(version))
                make_class_archive(version)
        else:
            _run(arguments.nodes, arguments.kafka, _properties(arguments.property))
    except StackError as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _properties(entries: list[str]) -> dict[str, str]:
    for entry in entries:
        if "=" not in entry:
            raise StackError(f"--property {entry}: expected KEY=VALUE")
    return dict(entry.split("=", 1) for entry in entries)


def _run(nodes: int, version: str, properties: dict[str, str]) -> None:
    with KafkaCluster(nodes, version, properties=properties) as cluster:
        print(cluster.bootstrap_servers, flush=True)
        while all(node.running for node in cluster.nodes):
            time.sleep(0.5)
        ended = [node for node in cluster.nodes if not node.running]
        raise StackError("\n".join(f"node {node.node_id} ended:\n{node.log()}" for node in ended))


if __name__ == "__main__":
    sys.exit(main())
