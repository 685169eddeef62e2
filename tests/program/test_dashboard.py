"""Dashboard and rules on real data: klag-trio watches the demo on a real Kafka, Prometheus scrapes it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from tests.broker.waiting import wait_until
from tests.program.program import config_text, running

from stack.grafana.dashboard import ROWS
from stack.load import GROUPS, TOPICS, Load
from stack.prometheus import PrometheusServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.broker.shared import SharedKafka

# They share a Prometheus.
pytestmark = pytest.mark.xdist_group("dashboard")

PANELS = {panel.title: panel for row in ROWS for panel in row.panels}
EVERYWHERE = [title for title, panel in PANELS.items() if not panel.by_partition]
# Nobody listens there: what is counted about errors and failed pushes is counted too.
CLOSED = "127.0.0.1:1"
SECONDS = 60.0


@pytest.fixture(scope="module")
def prometheus(
    shared_kafka: SharedKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    """One klag-trio of each granularity; the cluster is called after it, and another cluster is down."""
    with ExitStack() as stack:
        stack.enter_context(Load(shared_kafka.bootstrap_servers))
        # The broker has other tests' groups and topics, too.
        mine: dict[str, Any] = {
            "group_whitelist": [exactly(GROUPS)],
            "topic_whitelist": [exactly(t.topic for t in TOPICS)],
        }
        targets = []
        for granularity in ("topic", "partition"):
            clusters = [
                {"name": granularity, "bootstrap_servers": shared_kafka.bootstrap_servers, **mine},
                {"name": f"{granularity}-down", "bootstrap_servers": CLOSED},
            ]
            otel = {"enabled": True, "endpoint": f"http://{CLOSED}", "export_interval": "1s"}
            exporter = {"granularity": granularity, "poll_interval": "1s", "otel": otel}
            folder = tmp_path_factory.mktemp(granularity)
            program = stack.enter_context(running(folder, config_text(clusters, exporter)))
            targets.append(f"127.0.0.1:{program.port}")
        yield stack.enter_context(PrometheusServer({"lag": targets}))


def exactly(names: Iterable[str]) -> str:
    return f"^({'|'.join(map(re.escape, names))})$"


def filled_in(expression: str, cluster: str) -> str:
    """The query as Grafana sends it when this cluster, all groups and all topics are chosen."""
    for variable, value in {
        "$cluster": cluster,
        "$group": ".*",
        "$topic": ".*",
        "$__rate_interval": "15s",
    }.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


@pytest.mark.parametrize("title", EVERYWHERE)
def test_a_panel_for_both_granularities_has_data_at_granularity_topic(
    prometheus: PrometheusServer, title: str
) -> None:
    # The cluster that is down comes with it: it has the errors.
    shows_data(prometheus, title, "topic.*")


@pytest.mark.parametrize("title", PANELS)
def test_every_panel_has_data_at_granularity_partition(prometheus: PrometheusServer, title: str) -> None:
    shows_data(prometheus, title, "partition.*")


def shows_data(prometheus: PrometheusServer, title: str, cluster: str) -> None:
    for query in PANELS[title].queries:
        expression = filled_in(query.expr, cluster)
        found = wait_until(lambda e=expression: prometheus.query(e), f"data of {expression}", SECONDS)  # type: ignore[misc]
        # The labels that the legend names are there.
        named = set(re.findall(r"{{(\w+)}}", query.legend))
        assert all(named <= set(sample.labels) for sample in found)


def test_no_panel_by_partition_has_data_at_granularity_topic(prometheus: PrometheusServer) -> None:
    by_partition = [panel for panel in PANELS.values() if panel.by_partition]
    assert by_partition
    for panel in by_partition:
        for query in panel.queries:
            assert [] == prometheus.query(filled_in(query.expr, "topic.*")), panel.title


@pytest.mark.parametrize("cluster", ["topic", "partition"])
def test_the_variables_offer_every_group_of_the_demo(prometheus: PrometheusServer, cluster: str) -> None:
    def offered() -> set[str]:
        chosen = f'kafka_consumergroup_group_state{{cluster_name=~"{cluster}"}}'
        return set(prometheus.get("label/group/values", **{"match[]": chosen}))

    wait_until(lambda: offered() == set(GROUPS), "all groups are offered")


@pytest.mark.parametrize("cluster", ["topic", "partition"])
def test_what_the_group_panels_show_is_what_the_demo_does(prometheus: PrometheusServer, cluster: str) -> None:
    """The group that stopped lags more than the slow one, and that more than the one that keeps up."""
    expression = filled_in(PANELS["Lag by topic"].queries[0].expr, cluster)

    def in_order() -> bool:
        lag = {sample.labels["group"]: sample.value for sample in prometheus.query(expression)}
        groups = ("orders-billing", "orders-search", "orders-export")
        # Where a scrape took too long there is none for a moment.
        return lag.keys() >= set(groups) and lag[groups[0]] < lag[groups[1]] < lag[groups[2]]

    wait_until(in_order, "the groups are in order of lag", SECONDS)


@pytest.mark.parametrize(
    ("alert", "labels"),
    [
        (
            "KafkaConsumerDataLoss",
            {"cluster_name": "partition", "group": "clicks-report", "topic": "clicks", "partition": "0"},
        ),
        ("KafkaClusterDataLoss", {"cluster_name": "topic"}),
    ],
)
def test_the_loss_that_the_demo_shows_fires_the_alert_of_its_granularity_and_no_other(
    prometheus: PrometheusServer, alert: str, labels: dict[str, str]
) -> None:
    found = wait_until(
        lambda: prometheus.query(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'),
        f"{alert} fires",
        SECONDS,
    )
    fixed = {"__name__": "ALERTS", "alertname": alert, "alertstate": "firing", "severity": "critical"}
    assert [{**fixed, **labels}] == [dict(sample.labels) for sample in found]


def test_every_rule_can_be_evaluated_and_every_record_has_data(prometheus: PrometheusServer) -> None:
    def rules() -> list[Any]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), "every rule was evaluated")
    assert rules()
    assert {"ok"} == {rule["health"] for rule in rules()}
    # A drain time exists only while some group catches up, which nobody promises here.
    records = {rule["name"] for rule in rules() if rule["type"] == "recording"} - {
        "cluster_group_topic:kafka_drain_seconds:deriv15m"
    }
    for record in records:
        for cluster in ("topic", "partition"):
            selector = f'{record}{{cluster_name="{cluster}"}}'
            wait_until(lambda s=selector: prometheus.query(s), f"data of {selector}", SECONDS)  # type: ignore[misc]
