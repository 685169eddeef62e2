"""A login with a ticket, by the confluent-kafka that scripts/build-kerberos builds."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
import pytest
from confluent_kafka import libversion
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique, wait_until
from tests.kerberos.kdc import REALM, KeyDistributionCentre
from tests.program.program import config_text, run, running

from klag_trio.kafka.features import built_in
from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER = "lag-reader"
REAUTHENTICATE_SECONDS = 3
LAG = "kafka_consumergroup_group_lag"
SECONDS_BEHIND = "kafka_consumergroup_group_lag_seconds"


@attrs.frozen
class House:
    """A broker with a listener GSSAPI, and who vouches for whom."""

    cluster: KafkaCluster
    kdc: KeyDistributionCentre
    keytab: Path

    def text(self, **properties: str) -> str:
        mine = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "GSSAPI",
            "sasl.kerberos.service.name": "kafka",
            "sasl.kerberos.principal": f"{USER}@{REALM}",
            "sasl.kerberos.keytab": str(self.keytab),
            **properties,
        }
        way = {"bootstrap_servers": self.cluster.bootstrap("GSSAPI"), "consumer_properties": mine}
        return config_text([{"name": "main", **way}], {"performance": {"kafka_timeout": "10s"}})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        kdc = stack.enter_context(KeyDistributionCentre(tmp_path_factory.mktemp("kdc")))
        service = kdc.principal("kafka/127.0.0.1")
        login = (
            "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true "
            f'keyTab="{service}" principal="kafka/127.0.0.1@{REALM}";'
        )
        properties = {
            "connections.max.reauth.ms": str(REAUTHENTICATE_SECONDS * 1000),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # Nobody else is allowed anything: who is not known by this name reads nothing.
            "super.users": f"User:ANONYMOUS;User:{USER}",
            "listener.name.gssapi.sasl.enabled.mechanisms": "GSSAPI",
            "listener.name.gssapi.gssapi.sasl.jaas.config": login,
            "listener.name.gssapi.sasl.kerberos.service.name": "kafka",
        }
        cluster = KafkaCluster(
            properties=properties,
            listeners={"GSSAPI": "SASL_PLAINTEXT"},
            jvm_arguments=[f"-Djava.security.krb5.conf={kdc.krb5_conf}"],
        )
        yield House(stack.enter_context(cluster), kdc, kdc.principal(USER))


@pytest.fixture(scope="module")
def group(house: House) -> str:
    """A group that lags by 7 records in the topic of its name."""
    group = unique("group")
    with KafkaDriver(house.cluster.bootstrap_servers) as driver:
        driver.create_topic(group)
        driver.produce(group, 0, 10)
        driver.commit(group, {(group, 0): 3})
    return group


def test_this_librdkafka_has_kerberos() -> None:
    assert "sasl_gssapi" in built_in(), libversion()


def test_it_comes_in_with_a_ticket_reads_offsets_and_records_and_stays_in(
    house: House, group: str, tmp_path: Path
) -> None:
    def updated() -> float:
        return program.metrics().value("kafka_lag_exporter_last_update_timestamp_seconds") or 0

    with running(tmp_path, house.text(), environ=house.kdc.environ) as program:
        program.shows({(group, 0): 7}, lambda page: page.by_partition(LAG, cluster_name="main", group=group))
        program.shows(
            {(group, 0)},
            lambda page: page.by_partition(SECONDS_BEHIND, cluster_name="main", group=group).keys(),
        )
        first = updated()
        wait_until(lambda: updated() > first + 3 * REAUTHENTICATE_SECONDS, "cycles over several logins")
        assert {} == program.metrics().rows("klag_errors_total")


def test_a_ticket_of_a_principal_that_is_not_allowed_reads_nothing(
    house: House, group: str, tmp_path: Path
) -> None:
    stranger = house.kdc.principal("stranger")
    other = {"sasl.kerberos.principal": f"stranger@{REALM}", "sasl.kerberos.keytab": str(stranger)}
    path = tmp_path / "config.toml"
    path.write_text(house.text(**other))
    ended = run(
        "check", "-c", str(path), environ={**house.kdc.environ, "KRB5CCNAME": f"FILE:{tmp_path}/tickets"}
    )
    assert 1 == ended.code
    assert "reached; 0 topics" in ended.output
    assert "the name in sasl.kerberos.principal" in ended.output


def test_without_a_key_it_does_not_come_in_and_says_why(house: House, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(house.text(**{"sasl.kerberos.keytab": f"{tmp_path}/none.keytab"}))
    ended = run(
        "check", "-c", str(path), environ={**house.kdc.environ, "KRB5CCNAME": f"FILE:{tmp_path}/tickets"}
    )
    assert 1 == ended.code
    assert "cluster main: not reached" in ended.output
    assert "kinit" in ended.output
    assert "sasl.*" in ended.output
