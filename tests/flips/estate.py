"""A broker that is also reached through the proxy, full of marks in all that klag-trio asks about."""

from __future__ import annotations

import struct
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal
from unittest.mock import patch

from confluent_kafka import Producer
from tests.broker import stranger
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import SECONDS
from tests.flips.changes import BINARY, GROUP, TEXT
from tests.flips.proxy import Proxy, proxying
from tests.program.program import config_text

from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOSTILE, CALM = "hostile", "calm"
_DAY_MS = 24 * 3600 * 1000
_PERFORMANCE = {"kafka_timeout": "3s", "offset_fetch_timeout": "2s", "client_recycle_interval": 5}
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_ASSIGNMENTS = {"opaque": BINARY, "named": stranger.assignment({BINARY: [0, 1], BINARY[2:]: [2]})}
_PROTOCOLS: Mapping[Literal["classic", "consumer"], list[str]] = {"classic": [], "consumer": [TEXT]}
"""With what members subscribe to beside a topic: a broker takes any name in the newer protocol."""
_MARKS = {"group.instance.id": f"i-{TEXT}", "client.rack": f"r-{TEXT}", "client.id": f"c-{TEXT}"}


class _Stranger(stranger.Stranger):
    def join(self, metadata: bytes = b"") -> None:
        # A broker reads it: its version, topics, and data of the client's own.
        super().join(struct.pack(">hi", 0, 1) + stranger.text(BINARY) + stranger.data(BINARY))


@contextmanager
def estate() -> Iterator[tuple[Proxy, str]]:
    """The proxy, and the configuration of klag-trio, which asks for all there is in every cycle."""
    with ExitStack() as stack:
        proxy = stack.enter_context(proxying())
        proxied = f"127.0.0.1:{proxy.server_address[1]}"
        kafka = KafkaCluster(
            # A stranger that has joined says nothing until it leaves.
            properties={
                "group.max.session.timeout.ms": str(_DAY_MS),
                "connections.max.idle.ms": str(_DAY_MS),
            },
            listeners={"PROXIED": "PLAINTEXT"},
            advertised={"PROXIED": [proxied]},
            heap="320m",
        )
        stack.enter_context(patch.object(stranger, "SESSION_MS", _DAY_MS))
        stack.enter_context(kafka)
        (proxy.target,) = kafka.ports("PROXIED")
        driver = stack.enter_context(KafkaDriver(kafka.bootstrap_servers))
        for codec in _CODECS:
            # Of a compacted topic the same record is read in every cycle.
            driver.create_topic(codec, 2, {"cleanup.policy": "compact,delete"})
            _write(kafka.bootstrap_servers, codec)
            driver.commit(f"idle-{codec}-{GROUP}", {(codec, 0): 7, (codec, 1): 7})
        for protocol, topics in _PROTOCOLS.items():
            group = f"{protocol}-{GROUP}"
            topics = [_CODECS[0], *topics]
            stack.enter_context(driver.consuming(group, topics, protocol=protocol, properties=_MARKS))
        for kind, owned in _ASSIGNMENTS.items():
            member = _Stranger(kafka.bootstrap_servers, f"{kind}-{GROUP}".encode(), TEXT.encode())
            member.own(owned)
            stack.callback(member.leave)
        exporter = {
            "poll_interval": "500ms",
            "staleness_threshold": "15s",
            "performance": _PERFORMANCE,
            "timestamp_sampling": {"cache_ttl": "0s", "fetch_timeout": "2s"},
        }
        clusters = {HOSTILE: proxied, CALM: kafka.bootstrap_servers}
        named = [{"name": name, "bootstrap_servers": servers} for name, servers in clusters.items()]
        yield proxy, config_text(named, exporter)


def _write(bootstrap: str, codec: str) -> None:
    common = {"bootstrap.servers": bootstrap, "linger.ms": 50}
    producer = Producer({**common, "compression.type": codec, "batch.num.messages": 10})
    for number in range(80):
        key, value = BINARY + b"%d" % number, BINARY * (1 + number % 9)
        producer.produce(codec, value, key, headers={TEXT: BINARY}, partition=number % 2)
    assert producer.flush(SECONDS) == 0
