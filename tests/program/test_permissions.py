"""What klag-trio needs to be allowed, what a denial costs, and what `klag-trio check` says of it."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from tests.broker.acls import (
    CLUSTER,
    Request,
    allow,
    login,
    obey,
    requests_of,
    run_kafka_acls,
)
from tests.broker.driver import KafkaDriver
from tests.broker.shared import READERS, SharedKafka
from tests.broker.waiting import unique, wait_until
from tests.program.program import Ended, Page, Program, config_text, run, running

if TYPE_CHECKING:
    from collections.abc import Iterator

# Each takes the next user.
pytestmark = pytest.mark.xdist_group("permissions")

DOCUMENT = Path(__file__).parents[2] / "docs" / "permissions.md"
CLUSTER_NAME = "main"
LAG = "kafka_consumergroup_group_lag"
SECONDS_BEHIND = "kafka_consumergroup_group_lag_seconds"
ERRORS = "klag_errors_total"
TOPIC, GROUP, ANYTHING = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.BROKER
DESCRIBE, READ, CONFIGS = AclOperation.DESCRIBE, AclOperation.READ, AclOperation.DESCRIBE_CONFIGS
LITERAL, PREFIXED = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED


@attrs.frozen
class Stage:
    """A guarded broker with a user of the test's own, two topics and a group that lags by 7 on both.

    The group has a member on a topic of its own.
    """

    kafka: SharedKafka
    driver: KafkaDriver
    user: str
    prefix: str
    folder: Path

    @property
    def orders(self) -> str:
        return f"{self.prefix}-orders"

    @property
    def payments(self) -> str:
        return f"{self.prefix}-payments"

    @property
    def group(self) -> str:
        return f"{self.prefix}-app"

    def allow(
        self, kind: ResourceType, name: str, *operations: AclOperation, pattern: ResourcePatternType = LITERAL
    ) -> None:
        allow(self.kafka, self.user, kind, name, *operations, pattern=pattern)

    def deny(self, kind: ResourceType, name: str, *operations: AclOperation) -> None:
        denied = AclPermissionType.DENY
        allow(self.kafka, self.user, kind, name, *operations, pattern=LITERAL, permission=denied)

    def text(self, **exporter: object) -> str:
        mine = {"topic_whitelist": [f"^{self.prefix}"], "group_whitelist": [f"^{self.prefix}"]}
        way = {
            "bootstrap_servers": self.kafka.bootstrap("LOGIN"),
            "consumer_properties": login(self.user, READERS[self.user]),
        }
        return config_text([{"name": CLUSTER_NAME, **way, **mine}], exporter)

    def check(self) -> Ended:
        path = self.folder / "check.toml"
        path.write_text(self.text())
        return run("check", "-c", str(path))

    def requests(self) -> list[Request]:
        return list(requests_of(self.kafka, self.user))


@pytest.fixture(scope="module")
def users() -> Iterator[str]:
    return iter(READERS)


@pytest.fixture
def stage(shared_kafka: SharedKafka, users: Iterator[str], tmp_path: Path) -> Iterator[Stage]:
    with KafkaDriver(shared_kafka.bootstrap_servers) as driver:
        stage = Stage(shared_kafka, driver, next(users), unique("mine"), tmp_path)
        for topic in (stage.orders, stage.payments):
            driver.create_topic(topic)
            driver.produce(topic, 0, 10)
        driver.commit(stage.group, {(stage.orders, 0): 3, (stage.payments, 0): 3})
        yield stage


def lags(page: Page, group: str) -> dict[tuple[str, int], float]:
    return page.by_partition(LAG, cluster_name=CLUSTER_NAME, group=group)


def times(page: Page, group: str) -> set[tuple[str, int]]:
    return set(page.by_partition(SECONDS_BEHIND, cluster_name=CLUSTER_NAME, group=group))


def errors(page: Page) -> set[tuple[str, str]]:
    return {
        (dict(labels)["stage"], dict(labels)["code"])
        for labels in page.rows(ERRORS, cluster_name=CLUSTER_NAME)
    }


def warned(program: Program) -> set[tuple[str, str, str]]:
    return {
        (line["event"].removeprefix("cannot read "), line["subject"], line["mend"])
        for line in program.log()
        if line["level"] == "warning" and "mend" in line
    }


def commands(text: str) -> list[str]:
    """The calls of kafka-acls.sh in a text."""
    return re.findall(r"^ *(kafka-acls\.sh .*)$", text.replace("\\\n", " "), re.MULTILINE)


# The smallest set


def documented(heading: str) -> list[str]:
    """The commands that the document gives under a heading."""
    _, found, rest = DOCUMENT.read_text().partition(f"## {heading}\n")
    assert found
    return commands(rest.partition("\n## ")[0])


def grant(stage: Stage, *headings: str) -> None:
    """Do what the documented commands say for the user of this test."""
    for command in itertools.chain.from_iterable(map(documented, headings)):
        obey(stage.kafka, stage.user, command)


def denied(stage: Stage) -> set[tuple[str, str, str]]:
    """The request, operation and resource of what was denied."""
    return {
        (request.kind, request.operation, request.name) for request in stage.requests() if not request.allowed
    }


def test_what_is_documented_for_offsets_is_enough_for_them_and_for_member_labels(stage: Stage) -> None:
    grant(stage, "Lag in offsets, member labels")
    text = stage.text(timestamp_sampling={"enabled": False})
    both = {(stage.orders, 0): 7.0, (stage.payments, 0): 7.0}
    live = f"{stage.prefix}-live"

    def client_ids(page: Page) -> set[str]:
        return {dict(labels)["client_id"] for labels in page.rows(LAG, group=live)}

    with (
        stage.driver.consuming(live, [stage.orders], client_id="worker-7") as member,
        running(stage.folder, text) as program,
    ):
        member.commit({(stage.orders, 0): 4})
        program.shows(both, lambda page: lags(page, stage.group))
        program.shows({"worker-7"}, client_ids)
        assert set() == errors(program.next_cycle(CLUSTER_NAME))


def test_what_is_documented_for_time_lag_is_enough_for_it_and_for_the_flags(stage: Stage) -> None:
    grant(
        stage, "Lag in offsets, member labels", "Time lag from messages", "Flags of compaction and data loss"
    )
    stage.driver.delete_records(stage.orders, 0, 5)
    lost = "kafka_consumergroup_group_messages_lost"
    with running(stage.folder, stage.text()) as program:
        program.shows({(stage.orders, 0), (stage.payments, 0)}, lambda page: times(page, stage.group))
        program.shows(
            {(stage.orders, 0): 2.0, (stage.payments, 0): 0.0},
            lambda page: page.by_partition(lost, cluster_name=CLUSTER_NAME, group=stage.group),
        )
        assert set() == errors(program.next_cycle(CLUSTER_NAME))


def test_with_all_that_is_documented_brokers_deny_nothing_and_see_the_documented_requests(
    stage: Stage,
) -> None:
    written = [
        command.replace("localhost:9092", stage.kafka.bootstrap_servers)
        for command in commands(DOCUMENT.read_text())
        if "localhost:9092" in command
    ]
    assert 5 == len(written)
    run_kafka_acls(stage.kafka, written, stage.user)
    stage.driver.delete_records(stage.orders, 0, 5)
    with (
        stage.driver.consuming(f"{stage.prefix}-classic", [stage.orders]),
        stage.driver.consuming(f"{stage.prefix}-consumer", [stage.orders], protocol="consumer"),
        running(stage.folder, stage.text()) as program,
    ):
        program.shows({(stage.orders, 0), (stage.payments, 0)}, lambda page: times(page, stage.group))
        table = set(re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \|", DOCUMENT.read_text(), re.MULTILINE))

        def made() -> set[tuple[str, str, str]]:
            return {(request.kind, request.operation, request.resource) for request in stage.requests()}

        wait_until(lambda: made() >= table, "all documented requests are made")
        program.next_cycle(CLUSTER_NAME)
    assert set() == denied(stage)
    assert table == made()


# What a denial costs


def test_the_lookup_of_a_coordinator_is_denied_and_costs_no_read(stage: Stage) -> None:
    stage.allow(TOPIC, stage.prefix, READ, pattern=PREFIXED)
    stage.allow(GROUP, stage.prefix, DESCRIBE, pattern=PREFIXED)
    reads = "klag_time_lag_reads_total"
    with running(stage.folder, stage.text()) as program:
        program.shows({(stage.orders, 0), (stage.payments, 0)}, lambda page: times(page, stage.group))

        def denied_lookups() -> list[Request]:
            return [request for request in stage.requests() if not request.allowed]

        # Of the reader and of the handle that asks coordinators, both without end.
        wait_until(lambda: len(denied_lookups()) >= 4, "it looks for coordinators again and again")
        assert {"FindCoordinator"} == {request.kind for request in denied_lookups()}
        assert {"klag-trio-"} == {request.name[:10] for request in denied_lookups()}
        before = program.metrics().value(reads, cluster_name=CLUSTER_NAME) or 0
        stage.driver.commit(stage.group, {(stage.orders, 0): 5, (stage.payments, 0): 6})
        program.shows(True, lambda page: (page.value(reads, cluster_name=CLUSTER_NAME) or 0) >= before + 2)
        page = program.next_cycle(CLUSTER_NAME)
        assert set() == errors(page)
        assert 0 == page.value("klag_time_lag_unread_partitions", cluster_name=CLUSTER_NAME)
        assert set() == warned(program)


def test_a_denied_group_costs_only_itself(stage: Stage) -> None:
    stage.allow(ANYTHING, CLUSTER, DESCRIBE)  # which lists the groups that are denied, too
    stage.allow(TOPIC, stage.prefix, DESCRIBE, pattern=PREFIXED)
    stage.allow(GROUP, stage.group, DESCRIBE)
    other = f"{stage.prefix}-other"
    stage.driver.commit(other, {(stage.orders, 0): 1})
    text = stage.text(timestamp_sampling={"enabled": False})
    both = {(stage.orders, 0): 7.0, (stage.payments, 0): 7.0}
    with (
        stage.driver.consuming(other + "-live", [stage.orders]),
        running(stage.folder, text) as program,
    ):
        program.shows(both, lambda page: lags(page, stage.group))
        page = program.next_cycle(CLUSTER_NAME)
        code = "GROUP_AUTHORIZATION_FAILED"
        assert {("committed", code), ("members", code)} == errors(page)
        assert 1 == page.value("klag_cluster_up", cluster_name=CLUSTER_NAME)
        assert {} == lags(page, other)
        hint = "allow DESCRIBE on the group"
        expected = {
            ("committed", other, hint),
            ("committed", other + "-live", hint),
            ("members", other + "-live", hint),
        }
        wait_until(lambda: expected == warned(program), "each denial is logged with its hint")
        stage.allow(GROUP, other, DESCRIBE)
        program.shows({(stage.orders, 0): 9.0}, lambda page: lags(page, other))
        wait_until(
            lambda: [line["subject"] for line in program.log("can read committed again")] == [other],
            "it says that the group is allowed",
        )


def test_a_denied_topic_costs_only_itself(stage: Stage) -> None:
    stage.allow(TOPIC, stage.prefix, READ, CONFIGS, pattern=PREFIXED)
    stage.allow(GROUP, stage.prefix, DESCRIBE, pattern=PREFIXED)
    stage.deny(TOPIC, stage.payments, AclOperation.ALL)
    with running(stage.folder, stage.text()) as program:
        program.shows({(stage.orders, 0)}, lambda page: times(page, stage.group))
        page = program.next_cycle(CLUSTER_NAME)
        assert {(stage.orders, 0): 7.0} == lags(page, stage.group)
        assert set() == errors(page)
        assert stage.payments not in page.text


def test_a_denied_topic_costs_a_group_of_kip_848_its_member_labels_besides(stage: Stage) -> None:
    stage.allow(TOPIC, stage.orders, READ, CONFIGS)
    stage.allow(GROUP, stage.prefix, DESCRIBE, pattern=PREFIXED)
    live = f"{stage.prefix}-live"

    def rows(page: Page) -> set[tuple[str, str, str]]:
        lag = page.rows(LAG, cluster_name=CLUSTER_NAME)
        told = [dict(labels) for labels in lag]
        return {(row["group"], row["topic"], row["client_id"]) for row in told}

    topics = [stage.orders, stage.payments]
    with (
        stage.driver.consuming(live, topics, protocol="consumer") as member,
        stage.driver.consuming(f"{live}-classic", topics, client_id="worker-7") as classic,
        running(stage.folder, stage.text()) as program,
    ):
        for joined in (member, classic):
            joined.commit(dict.fromkeys(joined.assignment, 4))
        expected = {
            (stage.group, stage.orders, ""),
            (live, stage.orders, ""),
            (f"{live}-classic", stage.orders, "worker-7"),
        }
        program.shows(expected, rows)
        assert {("members", "TOPIC_AUTHORIZATION_FAILED")} == errors(program.next_cycle(CLUSTER_NAME))
        hint = "allow DESCRIBE on all topics of the group"
        wait_until(lambda: {("members", live, hint)} == warned(program), "the denial is logged with its hint")
        assert f"those of {live}" in stage.check().output


def test_cleanup_policies_that_are_denied_cost_the_flags_and_nothing_else(stage: Stage) -> None:
    grant(stage, "Lag in offsets, member labels", "Time lag from messages")
    stage.driver.delete_records(stage.orders, 0, 5)
    with running(stage.folder, stage.text()) as program:
        program.shows({(stage.orders, 0), (stage.payments, 0)}, lambda page: times(page, stage.group))
        page = program.next_cycle(CLUSTER_NAME)
        assert {("policies", "TOPIC_AUTHORIZATION_FAILED")} == errors(page)
        assert {(stage.orders, 0): 7.0, (stage.payments, 0): 7.0} == lags(page, stage.group)
        hint = "allow DESCRIBE_CONFIGS on the topic"
        wait_until(
            lambda: {("policies", stage.orders, hint)} == warned(program),
            "the denial is logged with its hint",
        )


# klag-trio check


def test_what_check_tells_to_add_is_enough(stage: Stage) -> None:
    rounds = 0
    while (ended := stage.check()).code:
        rounds += 1
        assert rounds < 5, ended.output
        told = commands(ended.output)
        assert told, ended.output
        for command in told:
            obey(stage.kafka, stage.user, command)
    assert rounds > 1
    for feature in ("offset lag", "time lag", "compaction and data loss flags"):
        assert f"{feature}: works" in ended.output
    assert commands(ended.output) == []
    with running(stage.folder, stage.text()) as program:
        program.shows({(stage.orders, 0), (stage.payments, 0)}, lambda page: times(page, stage.group))
        assert set() == errors(program.next_cycle(CLUSTER_NAME))


@pytest.mark.parametrize(
    ("missing", "feature"),
    [(READ, "time lag"), (CONFIGS, "compaction and data loss flags")],
    ids=["READ", "DESCRIBE_CONFIGS"],
)
def test_check_names_what_one_topic_lacks(stage: Stage, missing: AclOperation, feature: str) -> None:
    stage.allow(GROUP, "*", DESCRIBE)
    stage.allow(TOPIC, stage.prefix, DESCRIBE, pattern=PREFIXED)
    stage.allow(TOPIC, stage.orders, READ, CONFIGS)
    stage.allow(TOPIC, stage.payments, *({READ, CONFIGS} - {missing}))
    ended = stage.check()
    assert 1 == ended.code
    assert f"{feature}: not all of it works" in ended.output
    assert 1 == ended.output.count("not all of it works")
    operation = missing.name.replace("_", "")
    (command,) = commands(ended.output)
    assert ["--topic", stage.payments] == shlex.split(command)[-2:]
    assert operation == shlex.split(command)[-3].upper()
    assert READERS[stage.user] not in ended.output


def test_check_names_a_topic_that_a_group_consumes_and_that_is_hidden(stage: Stage) -> None:
    stage.allow(GROUP, stage.prefix, DESCRIBE, pattern=PREFIXED)
    stage.allow(TOPIC, stage.orders, READ, CONFIGS)
    with stage.driver.consuming(f"{stage.prefix}-live", [stage.payments]):
        ended = stage.check()
    assert 1 == ended.code
    assert f"missing: DESCRIBE on the topic {stage.payments}" in ended.output
    assert "member labels: works" in ended.output
