"""Which cluster a start fails of, and that it does not wait for it without end."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from tests.unit.kafka.hanging import HangingFile, ended
from tests.unit.kafka.test_client import clients, make_certificate, until

from klag_trio.config import Cluster, Config, Exporter, Performance
from klag_trio.config.properties import Properties
from klag_trio.connections import HostError, connect
from klag_trio.kafka.coordinators import Coordinators

__all__ = ["ended"]


pytestmark = pytest.mark.usefixtures("slow_close")


def config(*clusters: Cluster) -> Config:
    performance = Performance(kafka_timeout=0.2)
    return Config(exporter=Exporter(performance=performance), clusters=clusters)


def cluster(name: str, **properties: str) -> Cluster:
    return Cluster(name=name, bootstrap_servers="127.0.0.1:1", consumer_properties=Properties(properties))


def with_tls(name: str, path: Path) -> Cluster:
    return cluster(name, **{"security.protocol": "SSL", "ssl.ca.location": str(path)})


async def test_a_start_that_waits_for_a_file_ends_with_the_cluster_and_the_property(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: list[Coordinators]
) -> None:
    monkeypatch.setattr("klag_trio.connections._CONNECT_SECONDS", 0.5)
    before = clients()
    certificate = tmp_path / "real.pem"
    make_certificate(certificate)
    hanging = HangingFile(tmp_path / "ca.pem")
    with pytest.raises(HostError) as caught:
        await connect(config(with_tls("a", hanging.path)))
    assert "cluster a: still waits for ssl.ca.location after 0.5 s" == str(caught.value)
    del caught
    await hanging.until_read()
    hanging.finish(certificate.read_bytes())
    await until(lambda: len(ended) == 1)
    await until(lambda: clients() == before)


async def test_a_file_that_is_late_delays_its_own_cluster_only(tmp_path: Path) -> None:
    before = clients()
    certificate = tmp_path / "real.pem"
    make_certificate(certificate)
    hanging = HangingFile(tmp_path / "ca.pem")
    names: list[str] = []

    async def make() -> None:
        wanted = [with_tls("a", hanging.path), *(cluster(name) for name in "bcdefghij")]
        connections = await connect(config(*wanted))
        names.extend(connection.cluster.name for connection in connections)
        for connection in connections:
            assert await connection.client.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make)
        await hanging.until_read()
        await until(lambda: clients() == before + 2 * 9)
        assert [] == names
        hanging.finish(certificate.read_bytes())
    assert list("abcdefghij") == names
    await until(lambda: clients() == before)
