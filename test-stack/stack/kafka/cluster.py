"""A real Apache Kafka (KRaft) of one node or several on free loopback ports."""

from __future__ import annotations

import fcntl
import random
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from stack.cache import folder_of
from stack.kafka.errors import StackError
from stack.kafka.jars import jars, java
from stack.kafka.node import KafkaNode
from stack.kafka.prepared import class_archive, random_id
from stack.kafka.readiness import wait_for_brokers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import IO

CURRENT = "4.1.2"
OLDEST = "3.3.0"
START_SECONDS = 90.0
# Below what Linux hands out to outgoing connections, which could take the port of a node that is down.
PORTS = range(20000, 32000)


class KafkaCluster:
    """A cluster that lives as long as its `with` block; its data is temporary.

    `properties` are broker properties over those that make a broker quick to test with. Every node keeps
    a plain listener (`bootstrap_servers`) for itself and for the tests; `listeners` adds others, name to
    security protocol (`{"SECURE": "SASL_SSL"}`), reached at `bootstrap("SECURE")` and set up by
    `listener.name.secure.*` properties. `client_properties` are what the readiness check needs where even
    the plain listener is closed to strangers, `format_arguments` go to Kafka's storage tool (`--add-scram`),
    `jvm_arguments` to Java.
    `advertised` tells clients of a listener to go elsewhere, such as to a proxy: `host:port` for each node.
    """

    def __init__(
        self,
        nodes: int = 1,
        version: str = CURRENT,
        *,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        client_properties: Mapping[str, str] | None = None,
        format_arguments: Sequence[str] = (),
        jvm_arguments: Sequence[str] = (),
        advertised: Mapping[str, Sequence[str]] | None = None,
        heap: str = "512m",
    ) -> None:
        self.version = version
        self.nodes: list[KafkaNode] = []
        self._ids = list(range(1, nodes + 1))
        self._properties = properties or {}
        self._listeners = listeners or {}
        self._client_properties = client_properties or {}
        self._format_arguments = format_arguments
        self._jvm_arguments = jvm_arguments
        self._advertised = advertised or {}
        self._heap = heap
        self._held: _Ports | None = None
        self._ports: dict[tuple[int, str], int] = {}
        self._folder: Path | None = None

    @property
    def log_files(self) -> list[Path]:
        """What each node writes down."""
        return [node.log_file for node in self.nodes]

    @property
    def bootstrap_servers(self) -> str:
        return self.bootstrap("PLAINTEXT")

    def bootstrap(self, listener: str) -> str:
        """The addresses of one listener of all nodes, as bootstrap.servers takes them."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports(listener))

    def ports(self, listener: str) -> list[int]:
        """Where each node listens."""
        return [self._ports[node_id, listener] for node_id in self._ids]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all nodes and wait until they are ready; StackError shows the log where they are not."""
        archive = class_archive(self.version)
        classes = [f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []
        command = [
            *[java(), f"-Xmx{self._heap}", *classes, *self._jvm_arguments],
            *["-cp", f"{jars(self.version)}/*"],
        ]
        self._folder = folder = Path(tempfile.mkdtemp(prefix="klag-kafka-"))
        names = ["PLAINTEXT", "CONTROLLER", *self._listeners]
        wanted = [(node_id, name) for node_id in self._ids for name in names]
        self._held = _Ports(len(wanted))
        self._ports = dict(zip(wanted, self._held.numbers, strict=True))
        for node_id in self._ids:
            settings = self._node_properties(node_id)
            port = self._ports[node_id, "PLAINTEXT"]
            self.nodes.append(KafkaNode(node_id, java=command, folder=folder, properties=settings, port=port))
        cluster_id = random_id()
        try:
            for node in self.nodes:
                node.format(self.version, self._format_arguments, cluster_id)
            for node in self.nodes:
                node.launch()
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until the nodes that run see one another and group coordinators answer."""
        running = [node for node in self.nodes if node.running]
        if not running:
            raise StackError("no node runs:\n" + "\n".join(node.log() for node in self.nodes))
        ids = {node.node_id for node in running}
        wait_for_brokers(running, ids, self._client_properties, time.monotonic() + seconds)

    def stop(self) -> None:
        """Stop all nodes and remove their data."""
        # An orderly end takes longer than data that is thrown away is worth.
        for node in self.nodes:
            node.kill()
        self.nodes.clear()
        if self._held is not None:
            self._held.release()
            self._held = None
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _node_properties(self, node_id: int) -> dict[str, str]:
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **self._listeners}
        addresses = {name: f"{name}://127.0.0.1:{self._ports[node_id, name]}" for name in protocols}
        told = {
            name: f"{name}://{hosts[self._ids.index(node_id)]}" for name, hosts in self._advertised.items()
        }
        voters = (f"{voter}@127.0.0.1:{self._ports[voter, 'CONTROLLER']}" for voter in self._ids)
        replicas = str(min(3, len(self._ids)))
        in_sync = str(min(2, len(self._ids)))
        return {
            "node.id": str(node_id),
            "process.roles": "broker,controller",
            "controller.quorum.voters": ",".join(voters),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(
                url for name, url in {**addresses, **told}.items() if name != "CONTROLLER"
            ),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            "auto.create.topics.enable": "false",
            "delete.topic.enable": "true",
            "num.partitions": "1",
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": "2",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "group.consumer.min.session.timeout.ms": "1000",
            "group.consumer.min.heartbeat.interval.ms": "200",
            "group.consumer.heartbeat.interval.ms": "200",
            # What a test waits for happens in seconds, not in Kafka's minutes.
            # Nothing goes by age unless a topic says so, and any timestamp may be written.
            "log.retention.ms": "-1",
            "log.message.timestamp.after.max.ms": str(2**63 - 1),
            "log.retention.check.interval.ms": "200",
            "log.cleaner.backoff.ms": "100",
            "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
            "log.segment.delete.delay.ms": "200",
            "log.initial.task.delay.ms": "100",
            "offsets.retention.check.interval.ms": "5000",
            # A killed broker may come back once its old session has run out.
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "4000",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "background.threads": "2",
            **self._properties,
        }


class _Ports:
    """Ports that no program listens on, and that no other cluster on this machine takes until `release`."""

    def __init__(self, count: int) -> None:
        self.numbers: list[int] = []
        self._held: list[IO[str]] = []
        folder = folder_of("ports")
        folder.mkdir(parents=True, exist_ok=True)
        for port in random.sample(PORTS, len(PORTS)):
            held = (folder / str(port)).open("w")
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as candidate:
                    candidate.bind(("127.0.0.1", port))
            except OSError:
                held.close()
                continue
            self.numbers.append(port)
            self._held.append(held)
            if len(self.numbers) == count:
                return
        self.release()
        raise StackError(f"fewer than {count} ports of {PORTS.start} to {PORTS.stop - 1} are free")

    def release(self) -> None:
        for held in self._held:
            held.close()
