"""Every way to log in to a broker, and what is said where it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from tests.broker.driver import KafkaDriver
from tests.broker.shared import PASSWORD, REAUTHENTICATE_SECONDS, SECRETS, USER, SharedKafka
from tests.broker.waiting import OF_THIS_PROCESS, SECONDS, unique, wait_until
from tests.program.program import Program, config_text, run, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# They share two programs.
pytestmark = pytest.mark.xdist_group("authentication")

LAG = "kafka_consumergroup_group_lag"
SECONDS_BEHIND = "kafka_consumergroup_group_lag_seconds"


@attrs.frozen
class Way:
    """A listener and the properties that a client comes to it with."""

    listener: str
    properties: Callable[[SharedKafka], dict[str, str]]
    said: str = ""
    """What has to be found in the error, where there has to be one."""
    mend: str = ""


GOOD = {
    "plain": Way("PASSWORD", lambda d: d.sasl("PLAIN")),
    "scram-256": Way("PASSWORD", lambda d: d.sasl("SCRAM-SHA-256")),
    "scram-512": Way("PASSWORD", lambda d: d.sasl("SCRAM-SHA-512")),
    "unsecured-token": Way("PASSWORD", lambda d: d.unsecured(f"principal={USER}")),
    "unsecured-token-short": Way("PASSWORD", lambda d: d.unsecured(f"principal={USER} lifeSeconds=8")),
    "oidc": Way("OIDC", lambda d: d.oidc(d.identity.token_url())),
    "oidc-short": Way("OIDC", lambda d: d.oidc(d.identity.token_url(lifetime=8))),
    "tls": Way("TLS", lambda d: d.tls),
    "tls-without-looking": Way(
        "ELSEWHERE", lambda d: {**d.tls, "ssl.endpoint.identification.algorithm": "none"}
    ),
    "mutual-tls": Way("MUTUAL", lambda d: d.mutual_tls),
    "scram-over-tls": Way(
        "SECURE", lambda d: {**d.sasl("SCRAM-SHA-512"), **d.tls, "security.protocol": "SASL_SSL"}
    ),
}
"""Ways that lead in; a token of the short ones has to be renewed every few seconds."""

SASL, TLS = "sasl.*", "ssl.*"
BAD = {
    "plain-wrong-password": Way(
        "PASSWORD", lambda d: d.sasl("PLAIN", "wrong" + PASSWORD), "uthentication failed", SASL
    ),
    "plain-stranger": Way(
        "PASSWORD", lambda d: d.sasl("PLAIN", user="nobody-here"), "uthentication failed", SASL
    ),
    "scram-256-wrong-password": Way(
        "PASSWORD", lambda d: d.sasl("SCRAM-SHA-256", "wrong" + PASSWORD), "uthentication failed", SASL
    ),
    "scram-512-wrong-password": Way(
        "PASSWORD", lambda d: d.sasl("SCRAM-SHA-512", "wrong" + PASSWORD), "uthentication failed", SASL
    ),
    "mechanism-not-offered": Way(
        "OIDC", lambda d: d.sasl("PLAIN"), "supported mechanisms: OAUTHBEARER", SASL
    ),
    "oidc-wrong-secret": Way(
        "OIDC", lambda d: d.oidc(d.identity.token_url(), "wrong"), "invalid_client", SASL
    ),
    "oidc-other-audience": Way(
        "OIDC", lambda d: d.oidc(d.identity.token_url(audience="others")), "invalid_token", SASL
    ),
    "oidc-nobody-answers": Way("OIDC", lambda d: d.oidc("http://127.0.0.1:1/token"), "token", SASL),
    "tls-unknown-authority": Way(
        "TLS",
        lambda d: {**d.tls, "ssl.ca.location": str(d.stranger.certificate)},
        "certificate verify failed",
        TLS,
    ),
    "tls-expired": Way("EXPIRED", lambda d: d.tls, "certificate verify failed", "expired"),
    "tls-elsewhere": Way("ELSEWHERE", lambda d: d.tls, "certificate verify failed", "made out to the host"),
    "mutual-tls-without": Way("MUTUAL", lambda d: d.tls, "certificate", TLS),
    "mutual-tls-stranger": Way(
        "MUTUAL",
        lambda d: {
            **d.tls,
            "ssl.certificate.location": str((issued := d.stranger.issue("client")).certificate),
            "ssl.key.location": str(issued.key),
        },
        "certificate",
        TLS,
    ),
    "tls-where-there-is-none": Way("PLAINTEXT", lambda d: d.tls, "SSL", TLS),
    "none-where-there-is-tls": Way("TLS", lambda _: {}, "does security.protocol fit"),
    "none-where-a-login-is-asked-for": Way("PASSWORD", lambda _: {}, "does security.protocol fit"),
}


@pytest.fixture(scope="module")
def group(shared_kafka: SharedKafka) -> Iterator[str]:
    """A group that lags by 7 records in the topic of its name."""
    group = unique("group")
    with KafkaDriver(shared_kafka.bootstrap_servers) as driver:
        driver.create_topic(group)
        driver.produce(group, 0, 10)
        driver.commit(group, {(group, 0): 3})
        yield group


def text_of(shared_kafka: SharedKafka, ways: dict[str, Way], **exporter: object) -> str:
    clusters = [
        {
            "name": name,
            "bootstrap_servers": shared_kafka.bootstrap(way.listener),
            "consumer_properties": way.properties(shared_kafka),
            # What other tests do on the broker is not to disturb.
            "topic_whitelist": [OF_THIS_PROCESS],
            "group_whitelist": [OF_THIS_PROCESS],
        }
        for name, way in ways.items()
    ]
    return config_text(clusters, exporter)


@pytest.fixture(scope="module")
def inside(
    shared_kafka: SharedKafka, group: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    """klag-trio on the same broker by all the ways that lead in."""
    # On a busy machine a call may take long without anything being wrong.
    performance = {"client_recycle_interval": 0, "kafka_timeout": "30s", "offset_fetch_timeout": "30s"}
    with running(
        tmp_path_factory.mktemp("inside"),
        text_of(shared_kafka, GOOD, performance=performance, poll_interval="1s", staleness_threshold="60s"),
        "--log-level",
        "trace",
    ) as program:
        yield program
    assert all(secret not in program.output for secret in SECRETS)


@pytest.mark.parametrize("name", GOOD)
def test_it_comes_in_and_reads_offsets_and_records(inside: Program, group: str, name: str) -> None:
    inside.shows({(group, 0): 7}, lambda page: page.by_partition(LAG, cluster_name=name, group=group))
    inside.shows(
        {(group, 0)}, lambda page: page.by_partition(SECONDS_BEHIND, cluster_name=name, group=group).keys()
    )


def test_it_stays_in_when_it_has_to_log_in_again(
    inside: Program, shared_kafka: SharedKafka, group: str
) -> None:
    def updated() -> dict[str, float]:
        seconds = inside.metrics().rows("kafka_lag_exporter_last_update_timestamp_seconds")
        return {dict(labels)["cluster_name"]: value for labels, value in seconds.items()}

    wait_until(lambda: updated().keys() == GOOD.keys(), "a first cycle of each")
    before, tokens = updated(), shared_kafka.identity.tokens_given()

    def over_several_logins() -> bool:
        now = updated()
        return all(now.get(name, 0) > before[name] + 3 * REAUTHENTICATE_SECONDS for name in GOOD)

    # It takes this long at least, and longer where a token has ended before a busy machine has used it.
    wait_until(over_several_logins, "cycles over several logins", 4 * SECONDS)
    # Two clusters come by tokens, one of which is renewed every few seconds by all clients it has.
    assert shared_kafka.identity.tokens_given() >= tokens + 2
    page = inside.metrics()
    assert all(1 == page.value("klag_cluster_up", cluster_name=name) for name in GOOD)
    broken = {dict(labels)["cluster_name"] for labels in page.rows("klag_errors_total")}
    # A token that lives for seconds may end between its check here and there.
    assert {name for name in broken if "short" not in name} == set()


@pytest.fixture(scope="module")
def outside(
    shared_kafka: SharedKafka, group: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    """klag-trio by all the ways that do not lead in."""
    text = text_of(shared_kafka, BAD, performance={"kafka_timeout": "2s"}, staleness_threshold="60s")
    with running(tmp_path_factory.mktemp("outside"), text, "--log-level", "trace") as program:
        yield program
        told = [program.output, program.metrics().text, program.get("/")[1], program.get("/ready")[1]]
    assert all(secret not in page for secret in SECRETS for page in told)


@pytest.mark.parametrize("name", BAD)
def test_it_says_in_a_line_why_it_does_not_come_in_and_what_to_do(outside: Program, name: str) -> None:
    def warned() -> list[dict[str, str]]:
        return [
            line
            for line in outside.log()
            if line["level"] == "warning" and line.get("cluster") == name and BAD[name].said in line["error"]
        ]

    (line, *_) = wait_until(warned, f"{name}: {BAD[name].said}")
    assert "\n" not in line["error"]
    assert BAD[name].mend in line.get("mend", "")
    assert 0 == outside.metrics().value("klag_cluster_up", cluster_name=name)


def test_check_tells_the_same_before_anything_runs(
    shared_kafka: SharedKafka, group: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text_of(shared_kafka, {"plain": GOOD["plain"], "wrong": BAD["scram-256-wrong-password"]}))
    ended = run("check", "-c", str(path))
    assert 1 == ended.code
    assert "cluster plain: reached" in ended.output
    assert "cluster wrong: not reached" in ended.output
    assert "uthentication failed" in ended.output
    assert all(secret not in ended.output for secret in SECRETS)


def test_a_wrong_password_of_a_key_is_told_at_the_start(shared_kafka: SharedKafka, tmp_path: Path) -> None:
    wrong = Way("MUTUAL", lambda d: {**d.mutual_tls, "ssl.key.password": "wrong-password"})
    path = tmp_path / "config.toml"
    path.write_text(text_of(shared_kafka, {"locked": wrong}))
    ended = run("-c", str(path))
    assert 2 == ended.code
    assert "cluster locked: consumer_properties: " in ended.output
    assert "ssl.key" in ended.output
    assert "wrong-password" not in ended.output
