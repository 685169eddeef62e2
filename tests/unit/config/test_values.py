from __future__ import annotations

import pytest
from tests.unit.config.files import (
    CLUSTER,
    cluster_problem,
    exporter_problem,
    problem,
    problems,
    with_cluster,
    with_exporter,
)

from klag_trio.config import Cluster, Config, Exporter, load_config
from klag_trio.domain.patterns import NamePattern


def test_two_keys_are_enough() -> None:
    expected = Config(exporter=Exporter(), clusters=(Cluster(name="a", bootstrap_servers="localhost:9092"),))
    assert expected == load_config(CLUSTER, {})


def test_what_is_given_is_taken() -> None:
    cluster = with_cluster('group_blacklist = ["^x$"]\ntopic_blacklist = []\nlabels = {env = "prod"}')
    assert (NamePattern("^x$"),) == cluster.group_blacklist
    assert () == cluster.topic_blacklist
    assert {"env": "prod"} == cluster.labels


def test_the_staleness_threshold_follows_the_poll_interval() -> None:
    assert 30.0 == with_exporter('poll_interval = "10s"').staleness_threshold
    assert 15.0 == with_exporter('poll_interval = "10s"\nstaleness_threshold = "15s"').staleness_threshold
    assert 10.0 == with_exporter('poll_interval = "10s"\nstaleness_threshold = "10s"').staleness_threshold


def test_a_cache_can_be_turned_off_and_an_interval_cannot() -> None:
    assert (
        0.0
        == with_exporter('metadata_cache_ttl = "0s"', "exporter.performance").performance.metadata_cache_ttl
    )
    assert '"0s"' == exporter_problem('poll_interval = "0s"').found


@pytest.mark.parametrize(
    ("expected", "environ"),
    [
        ("pod", {"POD_NAME": "pod", "HOSTNAME": "host"}),
        ("host", {"POD_NAME": "", "HOSTNAME": "host"}),
        ("host", {"HOSTNAME": "host"}),
        (None, {}),
    ],
)
@pytest.mark.parametrize("written", ["", 'identity = "${?IDENTITY}"'])
def test_the_identity_is_the_pod_or_the_host(
    expected: str | None, environ: dict[str, str], written: str
) -> None:
    assert expected == with_exporter(written, "exporter.leadership", **environ).leadership.identity


def test_an_identity_that_is_given_wins() -> None:
    exporter = with_exporter('identity = "me"', "exporter.leadership", POD_NAME="pod")
    assert "me" == exporter.leadership.identity


def test_features_that_come_later_are_parsed() -> None:
    exporter = with_exporter("otel.enabled = true\nleadership.enabled = true")
    assert exporter.otel.enabled
    assert exporter.leadership.enabled


@pytest.mark.parametrize(("expected", "written"), [("::", "::"), ("::", "[::]"), ("my-host.x", "my-host.x")])
def test_an_address_to_listen_on_may_have_brackets(expected: str, written: str) -> None:
    assert expected == with_exporter(f'http_host = "{written}"').http_host


@pytest.mark.parametrize(
    "servers",
    ["localhost", "a:1,b:65535", "[::1]:9092", "SASL_SSL://kafka-0.kafka.svc:9093", "127.0.0.1:9092"],
)
def test_brokers_are_taken_as_librdkafka_does(servers: str) -> None:
    found = load_config(f'[[clusters]]\nname = "a"\nbootstrap_servers = "{servers}"', {})
    assert servers == found.clusters[0].bootstrap_servers


def test_spaces_between_brokers_are_dropped() -> None:
    found = load_config('[[clusters]]\nname = "a"\nbootstrap_servers = " a:1 , b:2 "', {})
    assert "a:1,b:2" == found.clusters[0].bootstrap_servers


@pytest.mark.parametrize(
    "servers",
    ["", " ", ",", "a:1,", "a:0", "a:65536", ":9092", "[::1", "[::1]:0", "http://", "a b:1"],
)
def test_brokers_that_cannot_be_are_refused(servers: str) -> None:
    found = problem(f'[[clusters]]\nname = "a"\nbootstrap_servers = "{servers}"')
    assert "clusters[0].bootstrap_servers" == found.path
    assert f'"{servers}"' == found.found


def test_the_broker_that_cannot_be_is_told_by_its_number() -> None:
    found = problem('[[clusters]]\nname = "a"\nbootstrap_servers = "a:1,b:x,c:3"')
    assert found.message.endswith("; number 2 of these 3 is none")


@pytest.mark.parametrize(
    "servers",
    [
        "user:PASSWORD/h:99999",
        "user:PASSWORD@h:9092",
        "h:9092,user:PASSWORD/h:99999",
        "SASL_SSL://user:PASSWORD@h:9092",
        "user:PASSWORD",
        "://PASSWORD",
        "a b:PASSWORD",
        "h?password=PASSWORD",
        "h;PASSWORD:1",
        "a:1:2",
    ],
)
def test_addresses_that_may_hold_a_password_are_not_shown(servers: str) -> None:
    found = problem(f'[[clusters]]\nname = "a"\nbootstrap_servers = "{servers}"')
    assert "clusters[0].bootstrap_servers" == found.path
    assert found.found is None
    assert "PASSWORD" not in str(found)


@pytest.mark.parametrize(
    "url",
    ["http://user:PASSWORD", "user:PASSWORD", "http://u:PASSWORD@h", "ftp://h/PASSWORD", "h:1?key=PASSWORD"],
)
def test_a_url_that_may_hold_a_password_is_not_shown(url: str) -> None:
    found = exporter_problem(f'otel.endpoint = "{url}"')
    assert "exporter.otel.endpoint" == found.path
    assert found.found is None


@pytest.mark.parametrize(
    "value", ["30", "0.5", "true", '"30"', '"fast"', '""', "1979-05-27", "[]", "{}", '"400d"', '"1us"']
)
@pytest.mark.parametrize(
    "key", ["poll_interval", "staleness_threshold", "performance.kafka_timeout", "otel.export_interval"]
)
def test_a_wrong_duration_is_told(key: str, value: str) -> None:
    found = exporter_problem(f"{key} = {value}")
    assert f"exporter.{key}" == found.path
    assert found.message.startswith('expected a duration such as "30s", "1m 30s" or "500ms", from 1ms to ')
    assert {"[]": "an array", "{}": "a table"}.get(value, value) == found.found


def test_a_bare_number_is_told_what_it_lacks() -> None:
    assert exporter_problem("poll_interval = 30").message.endswith("; it needs a unit and quotes")
    assert exporter_problem('poll_interval = "30"').message.endswith("(a number without a unit)")


@pytest.mark.parametrize(
    "value",
    [
        "8000.0",
        "true",
        '"8000"',
        "-1",
        "65536",
        "nan",
        "inf",
        "1979-05-27T07:32:00Z",
        "[8000]",
        "9223372036854775808",
    ],
)
def test_a_wrong_whole_number_is_told(value: str) -> None:
    found = exporter_problem(f"http_port = {value}")
    assert "exporter.http_port" == found.path
    assert found.message.startswith("expected a whole number from 0 to 65535")
    assert value.replace("[8000]", "an array") == found.found


def test_a_number_is_shown_as_it_was_written() -> None:
    assert "0xFFFF_FFFF" == exporter_problem("http_port = 0xFFFF_FFFF").found
    assert 8000 == with_exporter("http_port = 0x1F40").http_port


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-0.1", "true", '"0.1"', "07:32:00", "[]"])
def test_a_wrong_number_is_told(value: str) -> None:
    found = exporter_problem(f"rate_min_msgs_per_sec = {value}", "exporter.timestamp_sampling")
    assert found.message.startswith("expected a number from 0 to ")


@pytest.mark.parametrize("value", ["1", "0", '"true"', '"yes"', "[]"])
def test_a_wrong_boolean_is_told(value: str) -> None:
    found = exporter_problem(f"enabled = {value}", "exporter.otel")
    assert found.message.startswith("expected true or false")


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("timestamp_sampling.max_concurrent_fetches", 1),
        ("timestamp_sampling.rate_history_samples", 2),
        ("performance.group_fetch_retries", 0),
        ("performance.max_concurrent_groups", 1),
        ("performance.max_concurrent_watermarks", 1),
        ("performance.client_recycle_interval", 0),
        ("performance.max_blocking_threads", 1),
        ("leadership.grace_period_secs", 0),
    ],
)
def test_a_count_has_a_least_value(path: str, least: int) -> None:
    found: object = with_exporter(f"{path} = {least}")
    for name in path.split("."):
        found = getattr(found, name)
    assert least == found
    assert f"exporter.{path}" == exporter_problem(f"{path} = {least - 1}").path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("granularity", '"topics"'),
        ("granularity", '"Topic"'),
        ("granularity", "1"),
        ("timestamp_sampling.mode", '"exact"'),
        ("leadership.provider", '"consul"'),
        ("http_host", '""'),
        ("http_host", '"a b"'),
        ("http_host", '"http://a"'),
        ("otel.endpoint", '"localhost:4317"'),
        ("otel.endpoint", '"ftp://localhost"'),
        ("otel.endpoint", '"http://"'),
        ("otel.endpoint", '"http://[::1"'),
        ("otel.endpoint", '"http://a:99999"'),
        ("otel.endpoint", '"http://a b"'),
        ("leadership.lease_name", '"A"'),
        ("leadership.lease_name", '"a..b"'),
        ("leadership.lease_name", '"-a"'),
        ("leadership.lease_name", '""'),
        ("leadership.lease_namespace", '"a.b"'),
        ("leadership.lease_namespace", '"a_b"'),
        ("leadership.identity", '" "'),
        ("otel", "true"),
        ("timestamp_sampling", '"rate"'),
    ],
)
def test_a_wrong_value_is_told_with_its_path(key: str, value: str) -> None:
    found = exporter_problem(f"{key} = {value}")
    assert f"exporter.{key}" == found.path
    assert value == found.found


def test_names_of_the_lease_have_a_longest() -> None:
    assert (
        with_exporter(f'lease_name = "{"a" * 253}"', "exporter.leadership").leadership.lease_name == "a" * 253
    )
    assert "exporter.leadership.lease_name" == exporter_problem(f'leadership.lease_name = "{"a" * 254}"').path
    assert (
        "exporter.leadership.lease_namespace"
        == exporter_problem(f'leadership.lease_namespace = "{"a" * 64}"').path
    )


def test_credentials_in_a_url_are_refused_unseen() -> None:
    found = exporter_problem('otel.endpoint = "http://user:hunter2@localhost:4317"')
    assert "without user and password" in found.message
    assert "hunter2" not in str(found)


def test_the_word_that_was_meant_is_suggested() -> None:
    assert exporter_problem('granularity = "topics"').message.endswith('(did you mean "topic"?)')


def test_a_staleness_threshold_below_the_poll_interval_is_refused() -> None:
    found = exporter_problem('poll_interval = "30s"\nstaleness_threshold = "29s"')
    assert "exporter.staleness_threshold" == found.path
    assert (
        "expected poll_interval or more: clusters would drop out of /metrics between cycles" == found.message
    )
    assert '"29s"' == found.found
    assert "exporter.staleness_threshold" == exporter_problem('staleness_threshold = "29s"').path


def test_a_grace_period_not_below_the_lease_is_refused() -> None:
    found = exporter_problem("leadership = {lease_duration_secs = 10, grace_period_secs = 10}")
    assert "exporter.leadership.grace_period_secs" == found.path
    assert "10" == found.found
    assert "5 (the default)" == exporter_problem("leadership.lease_duration_secs = 5").found


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        ("missing ): a(", "a("),
        ("no argument for repetition operator: *", "*"),
        (r"invalid character class range: \p{Letter}", r"\p{Letter}"),
        (
            "invalid perl operator: (?!; RE2 has no look-around, so that it matches in linear time",
            "^(?!test-)",
        ),
        (
            "at position 4, RE2 has no && -- ~~ in classes; list what is left, or write "
            r"\& \- \~ for the characters",
            "[a-z&&[^b]]",
        ),
        ("pattern too large - compile failed", r"(\pL{1000})" * 5),
        ("missing )", "(" * 4000),
    ],
)
@pytest.mark.parametrize("key", ["group_whitelist", "group_blacklist", "topic_whitelist", "topic_blacklist"])
def test_a_bad_regular_expression_is_told_with_its_reason(key: str, reason: str, written: str) -> None:
    found = cluster_problem(f"{key} = ['ok', '{written}']")
    assert f"clusters[0].{key}[1]" == found.path
    assert f"expected a regular expression in RE2's syntax: {reason}" == found.message
    assert found.found is not None
    assert len(found.found) < 100


@pytest.mark.parametrize(("value", "shown"), [('"a"', '"a"'), ("{}", "a table"), ("1", "1")])
def test_patterns_must_be_an_array(value: str, shown: str) -> None:
    found = cluster_problem(f"topic_whitelist = {value}")
    assert ("expected an array of regular expressions in RE2's syntax", shown) == (found.message, found.found)


def test_the_reason_shows_nothing_of_a_regular_expression_from_the_environment() -> None:
    found = cluster_problem('topic_whitelist = ["${A}"]', A=r"hunter2\p{hunter2}")
    assert "expected a regular expression in RE2's syntax" == found.message
    assert "hunter2" not in str(found)


def test_every_wrong_item_of_an_array_is_told() -> None:
    found = problems(CLUSTER + 'topic_whitelist = [1, "a", true, ["b"], "("]')
    assert [f"clusters[0].topic_whitelist[{index}]" for index in (0, 2, 3, 4)] == [p.path for p in found]
    assert ["1", "true", "an array", '"("'] == [p.found for p in found]


@pytest.mark.parametrize("name", ["a-b", "1a", "", "é", "__a", "a.b", "a b"])
def test_an_illegal_label_name_is_refused(name: str) -> None:
    assert cluster_problem(f'labels."{name}" = "x"').message.startswith("expected a label name")


@pytest.mark.parametrize(
    "name",
    [
        "cluster_name",
        "topic",
        "partition",
        "group",
        "member_host",
        "consumer_id",
        "client_id",
        "compaction_detected",
        "data_loss_detected",
        "phase",
        "stage",
        "code",
        "outcome",
        "le",
        "quantile",
    ],
)
def test_a_label_that_clashes_is_refused(name: str) -> None:
    found = cluster_problem(f'labels.{name} = "x"')
    assert f"clusters[0].labels.{name}" == found.path
    assert "clashes with a label that klag-trio sets itself: choose another name" == found.message


@pytest.mark.parametrize("value", ["1", "true", "[]", "{}", "1979-05-27"])
def test_a_label_value_must_be_a_string(value: str) -> None:
    assert "expected a string" == cluster_problem(f"labels.x = {value}").message


def test_labels_cannot_be_changed() -> None:
    labels = with_cluster('labels.x = "1"').labels
    with pytest.raises(TypeError):
        labels["x"] = "2"  # type: ignore[index]


def test_a_pattern_has_a_limit_of_its_own() -> None:
    assert 4096 == len(with_cluster(f'topic_whitelist = ["{"a" * 4096}"]').topic_whitelist[0].pattern)
    found = cluster_problem(f'topic_whitelist = ["{"(a|b){1,9}" * 5_000}"]')
    assert "clusters[0].topic_whitelist[0]" == found.path
    assert "expected a regular expression in RE2's syntax: more than 4096 characters" == found.message
