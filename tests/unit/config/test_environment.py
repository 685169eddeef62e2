from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.config.files import (
    CLUSTER,
    cluster_problem,
    exporter_problem,
    problem,
    problems,
    with_cluster,
    with_exporter,
)


@pytest.mark.parametrize(
    ("expected", "written"),
    [
        ("x", "${SET}"),
        ("axb", "a${SET}b"),
        ("xx", "${SET}${SET}"),
        ("d", "${UNSET:-d}"),
        ("x", "${SET:-d}"),
        ("", "${EMPTY:-d}"),
        ("", "${UNSET:-}"),
        ("", "${?UNSET}"),
        ("x", "${?SET}"),
        ("d", "${?UNSET:-d}"),
        ("${SET}", "$${SET}"),
        ("$${SET}", "$$${SET}"),
        ("$", "$"),
        ("$SET", "$SET"),
        ("a b:c-d", "${UNSET:-a b:c-d}"),
    ],
)
@pytest.mark.parametrize("quotes", ['"', "'", '"""', "'''"])
def test_references_in_any_kind_of_string_are_replaced(expected: str, written: str, quotes: str) -> None:
    cluster = with_cluster(f"labels.x = {quotes}{written}{quotes}", SET="x", EMPTY="")
    assert expected == cluster.labels["x"]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_what_is_put_in_is_neither_toml_nor_expanded_again(value: str) -> None:
    for written in ('"${VALUE}"', "${VALUE}"):
        cluster = with_cluster(f"labels.x = {written}", VALUE=value, SECRET="hunter2")
        assert value == cluster.labels["x"]


def test_a_reference_put_in_by_a_reference_stays_as_it_is() -> None:
    assert "${B}" == with_cluster('labels.x = "${A}"', A="${B}", B="b").labels["x"]


def test_a_variable_that_is_not_set_is_named_with_its_key() -> None:
    found = cluster_problem('group_whitelist = ["a", "${NO_SUCH}"]')
    assert "clusters[0].group_whitelist[1]" == found.path
    assert (
        "the environment variable NO_SUCH is not set (${NO_SUCH:-default} gives it a default)"
        == found.message
    )
    assert '"${NO_SUCH}"' == found.found


def test_all_variables_that_are_not_set_are_told() -> None:
    found = problems('[exporter]\nhttp_host = "${A}${B}"\nhttp_port = ${C}\n' + CLUSTER)
    assert ["exporter.http_host", "exporter.http_port"] == [p.path for p in found]
    assert "A is not set" in found[0].message
    assert "B is not set" in found[0].message
    assert "C is not set" in found[1].message


@pytest.mark.parametrize("written", ["${", "${}", "${A-B}", "${1A}", "${A:x}", "${ A }", "${A:-${B}}"])
def test_a_reference_that_is_none_is_a_mistake(written: str) -> None:
    assert "expected ${NAME}, ${NAME:-default}" in cluster_problem(f'labels.x = "{written}"', A="a").message


def test_keys_and_comments_are_left_alone() -> None:
    assert {} == with_cluster("labels = {} # ${UNSET}\n# ${UNSET} = ${UNSET}").labels
    assert 'clusters[0].labels."${UNSET}"' == cluster_problem('labels."${UNSET}" = "x"').path


def test_bytes_that_are_no_text_are_refused() -> None:
    found = cluster_problem('labels.x = "${BYTES}"', BYTES="a\udcff")
    assert "the environment variable BYTES is not valid UTF-8" == found.message


@pytest.mark.parametrize(
    ("expected", "table", "key", "value"),
    [
        (9000, "exporter", "http_port", "9000"),
        ("::1", "exporter", "http_host", "::1"),
        ("partition", "exporter", "granularity", "partition"),
        (0.25, "exporter", "poll_interval", "250ms"),
        (False, "exporter.timestamp_sampling", "enabled", "false"),
        (True, "exporter.timestamp_sampling", "skip_data_loss_partitions", "true"),
        (0.5, "exporter.timestamp_sampling", "rate_min_msgs_per_sec", "0.5"),
        (2.0, "exporter.timestamp_sampling", "rate_min_msgs_per_sec", "2"),
        (7, "exporter.performance", "max_concurrent_watermarks", "7"),
    ],
)
@pytest.mark.parametrize("written", ["${VALUE}", "${?VALUE}", "${VALUE:-what?}", "${VALUE}  # why"])
def test_an_unquoted_reference_takes_the_type_of_its_key(
    expected: object, table: str, key: str, value: str, written: str
) -> None:
    found: object = with_exporter(f"{key} = {written}", table, VALUE=value)
    for name in (*table.split(".")[1:], key):
        found = getattr(found, name)
    assert expected == found
    assert type(expected) is type(found)


def test_an_unquoted_reference_may_be_in_an_array_an_inline_table_and_after_strings_and_comments() -> None:
    cluster = with_cluster(
        """
        group_whitelist = ["#,]${A}", # ${A} "
          ${A}, ${UNSET:-b#"c}, '''
        ]${A}''', \"\"\"\\\"\"\"]\"\"\"\"\"] # [
        labels = { x = ${A}, y = "=${A}", z=${?UNSET} } # {
        consumer_properties = {"client.id" = ${A}, "log_level" = ${UNSET:-7}}
        """,
        A="a",
    )
    assert ["#,]a", "a", 'b#"c', "        ]a", '"""]""'] == [p.pattern for p in cluster.group_whitelist]
    assert {"x": "a", "y": "=a", "z": ""} == cluster.labels
    assert {"client.id": "a", "log_level": "7"} == cluster.consumer_properties.reveal()


@pytest.mark.parametrize(
    "line",
    [
        "${A} = 1",
        "x${A} = 1",
        "[${A}]",
        "[[${A}]]",
        "x = 80${A}",
        "x = ${A}80",
        "x = ${A}${A}",
        "x = {${A} = 1}",
        "x = {y = 1, ${A} = 2}",
        "x = ${A-b}",
        "x = $${A}",
    ],
)
def test_an_unquoted_reference_anywhere_else_is_no_toml_and_the_place_is_right(line: str) -> None:
    found = problem(f"\n{line}\n", A="1")
    assert "the file is not valid TOML: " == found.message[:28]
    assert found.path.startswith("line 2, column ")


def test_a_quoted_number_stays_a_string() -> None:
    found = exporter_problem('http_port = "${PORT}"', PORT="8000")
    assert "expected a whole number from 0 to 65535 without quotes" == found.message
    assert '"${PORT}"' == found.found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http_port", "hunter2"),
        ("http_port", "99999"),
        ("http_port", "8_000"),
        ("http_port", "٣"),
        ("http_port", "9" * 5000),
        ("http_port", ""),
        ("http_port", "on"),
        ("poll_interval", "hunter2"),
        ("poll_interval", "12345"),
        ("granularity", "topics"),
        ("http_host", "hunter 2"),
        ("timestamp_sampling.enabled", "True"),
        ("timestamp_sampling.rate_min_msgs_per_sec", "nan"),
        ("timestamp_sampling.rate_min_msgs_per_sec", "1e999"),
        ("otel.endpoint", "http://user:hunter2@host"),
        ("leadership.lease_name", "Hunter2"),
    ],
)
def test_a_wrong_value_from_the_environment_is_shown_as_the_file_spells_it(key: str, value: str) -> None:
    for written in ("${VALUE}", "${VALUE:-x}"):
        found = exporter_problem(f"{key} = {written}", VALUE=value)
        assert f"exporter.{key}" == found.path
        assert found.found in {written, None}
        assert not value or value not in str(found)


@pytest.mark.parametrize(
    "line",
    [
        'topic_whitelist = ["${VALUE}"]',
        "topic_whitelist = [${VALUE}]",
        'bootstrap_servers = "${VALUE}"',
        'name = "${VALUE}"',
        'consumer_properties = "${VALUE}"',
        'consumer_properties.x = ["${VALUE}"]',
        'consumer_properties."plugin.library.paths" = "${VALUE}"',
    ],
)
def test_nothing_that_came_from_the_environment_is_in_any_message(line: str) -> None:
    text = f'[[clusters]]\nname = "(hunter2@"\nbootstrap_servers = "b:1"\n[[clusters]]\n{line}\n'.replace(
        "(hunter2@", "${VALUE}"
    )
    found = "\n".join(map(str, problems(text, VALUE="(hunter2@")))
    assert "hunter2" not in found
