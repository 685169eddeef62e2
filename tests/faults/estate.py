"""Two clusters, of which the first has all the faults, and what klag-trio needs to reach it in three ways."""

from __future__ import annotations

import enum
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import attrs
from confluent_kafka import ElectionType, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import SECONDS, wait_until
from tests.faults.proxy import Proxies
from tests.faults.reassign import reassign
from tests.program.program import config_text, running

from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.faults.observed import Observed
    from tests.program.program import Program

# The defaults of klag-trio, fifteen times as fast, but for two: without a broker its partitions have no
# leader for six seconds, or for ten where it was the active controller, and on a busy machine any broker may
# take more than half a second for an answer.
POLL = 2.0
KAFKA_TIMEOUT = POLL
OFFSET_FETCH_TIMEOUT = POLL / 2
THRESHOLD = 15.0

TARGET, STEADY = "target", "steady"
NODES = 3
TOPIC, PARTITIONS, RECORDS = "orders", 6, 20
GROUPS = [f"app-{number:02}" for number in range(12)]
RESTLESS, DOOMED = "restless", "doomed"
HOST = "kafka.test"
USER, PASSWORD = "lag-reader", "not-a-secret"
SCRAM = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
REAUTHENTICATED_MS = 3000


class Way(enum.Enum):
    """How klag-trio reaches the target."""

    DIRECT = "direct"
    NAMED = "by a host name, through proxies"
    SLOW = "the same, with patience"
    SECURE = "with TLS and a login, through proxies"


_NAMED = (Way.NAMED, Way.SLOW)

Begin = Callable[["Estate", "Observed | None"], AbstractContextManager[None]]
"""Makes a block as long as which a fault lasts; klag-trio runs already, unless it begins before."""


@attrs.define
class Estate:
    """The clusters and what stands between them and klag-trio."""

    target: KafkaCluster
    steady: KafkaCluster
    driver: KafkaDriver
    admin: AdminClient
    proxies: dict[Way, Proxies]
    folder: Path
    """With certificates, hosts and resolv.conf."""

    @property
    def hosts(self) -> Path:
        """The hosts file of programs that go by a name."""
        return self.folder / "hosts"

    def program(
        self, folder: Path, way: Way, *, within: Sequence[str] = ()
    ) -> AbstractContextManager[Program]:
        """Run klag-trio on both clusters; at debug level it tells when each cycle began."""
        folder.mkdir()
        exporter = {
            "poll_interval": f"{POLL}s",
            "staleness_threshold": f"{THRESHOLD}s",
            "timestamp_sampling": {"fetch_timeout": f"{KAFKA_TIMEOUT}s"},
            "performance": {
                "kafka_timeout": f"{KAFKA_TIMEOUT}s",
                # Over a slow network each group takes several ways there and back, and so as long as a call.
                "offset_fetch_timeout": f"{KAFKA_TIMEOUT if way is Way.SLOW else OFFSET_FETCH_TIMEOUT}s",
                "client_recycle_interval": 0,
            },
        }
        clusters = [
            {"name": STEADY, "bootstrap_servers": self.steady.bootstrap_servers},
            {"name": TARGET, **self._reached(way)},
        ]
        around = self._own_names() if way in _NAMED else within
        return running(folder, config_text(clusters, exporter), "--log-level", "debug", within=around)

    def _reached(self, way: Way) -> dict[str, Any]:
        if way is Way.DIRECT:
            return {"bootstrap_servers": self.target.bootstrap_servers}
        ports = self.proxies[way].ports
        if way in _NAMED:
            return {"bootstrap_servers": ",".join(f"{HOST}:{port}" for port in ports)}
        return {
            "bootstrap_servers": ",".join(f"127.0.0.1:{port}" for port in ports),
            "consumer_properties": {
                "security.protocol": "SASL_SSL",
                "ssl.ca.location": str(self.folder / "broker.ca"),
                "sasl.mechanism": "SCRAM-SHA-256",
                "sasl.username": USER,
                "sasl.password": PASSWORD,
            },
        }

    def _own_names(self) -> list[str]:
        """A command that gives the program a hosts file of ours, and no name server that answers."""
        script = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'
        alone = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
        files = [str(self.hosts), str(self.folder / "resolv.conf")]
        return ["unshare", *alone, "sh", "-c", script, "sh", *files]

    def resolve(self, *, known: bool) -> None:
        """Let the host name be known or not."""
        name = f"127.0.0.1 {HOST}\n" if known else ""
        self.hosts.write_text(f"127.0.0.1 localhost\n{name}")

    def allow(self, *, login: bool) -> None:
        """Let the user of the secure listener log in or not."""
        change: UserScramCredentialAlteration = UserScramCredentialDeletion(USER, SCRAM.mechanism)
        if login:
            change = UserScramCredentialUpsertion(USER, SCRAM, PASSWORD.encode())
        self.admin.alter_user_scram_credentials([change])[USER].result(SECONDS)

        def known() -> bool:
            asked = self.admin.describe_user_scram_credentials([USER])
            assert isinstance(asked, dict)
            try:
                described = asked[USER].result(SECONDS)
            except KafkaException:
                return False
            return bool(described.scram_credential_infos)

        wait_until(lambda: known() == login, "the credentials are as they should be")

    def move_leaders(self, topic: str) -> None:
        """Give every partition of a topic another leader, as operators do when they spread load."""
        before = self.leaders(topic)
        replicas = {}
        for partition, (leader, others) in before.items():
            # To the next broker, so that every one of them goes on leading some.
            following = [other for other in others if other > leader]
            replicas[partition] = [*following, *(other for other in others if other < leader), leader]
        reassign(self.target.nodes[0].port, topic, replicas)
        partitions = [TopicPartition(topic, partition) for partition in before]
        wait_until(lambda: self._elect(partitions, before), f"all partitions of {topic} have another leader")

    def spread_leaders(self, topic: str) -> None:
        """Let the leaders be where they are preferred, which is not all at one broker."""
        partitions = [TopicPartition(topic, partition) for partition in self.leaders(topic)]

        def spread() -> bool:
            try:
                self.admin.elect_leaders(ElectionType.PREFERRED, partitions).result(SECONDS)
            except KafkaException:
                return False
            return len({leader for leader, _ in self.leaders(topic).values()}) == NODES

        wait_until(spread, f"every broker leads partitions of {topic}")

    def _elect(self, partitions: Sequence[TopicPartition], before: dict[int, tuple[int, list[int]]]) -> bool:
        topic = partitions[0].topic
        self.admin.elect_leaders(ElectionType.PREFERRED, list(partitions)).result(SECONDS)
        now = self.leaders(topic)
        return all(now[partition][0] != before[partition][0] for partition in before)

    def leaders(self, topic: str) -> dict[int, tuple[int, list[int]]]:
        """The leader of each partition and the other brokers that hold it."""
        described = self.admin.describe_topics(TopicCollection([topic]))[topic].result(SECONDS)
        found = {}
        for partition in described.partitions:
            leader = partition.leader.id if partition.leader is not None else -1
            others = sorted(replica.id for replica in partition.replicas if replica.id != leader)
            found[partition.id] = leader, others
        return found


@contextmanager
def estate(folder: Path) -> Iterator[Estate]:
    """Start everything and fill it: every group lags in every partition of one topic."""
    _make_certificates(folder)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    secure = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "scram-sha-256.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        # How soon a login that is no longer good is found out.
        "scram-sha-256.connections.max.reauth.ms": str(REAUTHENTICATED_MS),
    }
    with Proxies(NODES) as named, Proxies(NODES) as logged_in:
        target = KafkaCluster(
            NODES,
            listeners={"NAMED": "PLAINTEXT", "SECURE": "SASL_SSL"},
            advertised={
                "NAMED": [f"{HOST}:{port}" for port in named.ports],
                "SECURE": [f"127.0.0.1:{port}" for port in logged_in.ports],
            },
            properties={f"listener.name.secure.{name}": value for name, value in secure.items()},
            heap="320m",
        )
        with target, KafkaCluster(heap="256m") as steady, KafkaDriver(target.bootstrap_servers) as driver:
            named.targets = target.ports("NAMED")
            logged_in.targets = target.ports("SECURE")
            admin = AdminClient({"bootstrap.servers": target.bootstrap_servers, "log_level": 0})
            proxies = {Way.NAMED: named, Way.SLOW: named, Way.SECURE: logged_in}
            made = Estate(target, steady, driver, admin, proxies, folder)
            made.resolve(known=True)
            made.allow(login=True)
            _fill(driver, [*GROUPS, RESTLESS, DOOMED])
            with KafkaDriver(steady.bootstrap_servers) as other:
                _fill(other, GROUPS[:1])
            yield made


def _fill(driver: KafkaDriver, groups: Sequence[str]) -> None:
    driver.create_topic(TOPIC, PARTITIONS)
    for partition in range(PARTITIONS):
        driver.produce(TOPIC, partition, RECORDS)
    for number, group in enumerate(groups):
        driver.commit(group, {(TOPIC, partition): number for partition in range(PARTITIONS)})


def _make_certificates(folder: Path) -> None:
    """Certificates for loopback, each its own authority: NAME.pem has the key too, and NAME.ca has not."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("broker", "impostor"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.ca")
        command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "2", *names, *files]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        both = ((folder / f"{name}.{kind}").read_text() for kind in ("key", "ca"))
        (folder / f"{name}.pem").write_text("".join(both))


def now() -> float:
    """The wall clock, which /metrics and the log go by."""
    return time.time()
