from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.unit.config.files import CLUSTER, problem, problems

from klag_trio.config import Cluster, Config, ConfigError, Exporter, load_config, read_config

EXAMPLE = Path(__file__).parents[3] / "config.toml"


def test_the_example_loads_and_shows_the_defaults() -> None:
    expected = Config(
        exporter=Exporter(), clusters=(Cluster(name="local", bootstrap_servers="localhost:9092"),)
    )
    assert expected == read_config(EXAMPLE, {})


def _keys(kind: type[Any]) -> list[attrs.Attribute[Any]]:
    return [
        key
        for field in attrs.fields(attrs.resolve_types(kind))
        for key in (_keys(field.type) if attrs.has(field.type) and "read" not in field.metadata else [field])
    ]


def test_the_example_shows_every_key() -> None:
    shown = set(re.findall(r"^(?:# )?(\w+) = |^\[clusters\.(\w+)\]", EXAMPLE.read_text(), re.MULTILINE))
    names = {first or second for first, second in shown}
    assert set() == {key.name for key in [*_keys(Exporter), *_keys(Cluster)]} - names


def test_every_key_says_what_it_means() -> None:
    assert [] == [key.name for key in [*_keys(Config), *_keys(Cluster)] if not key.metadata.get("doc")]


def test_all_mistakes_are_told_in_one_go_each_with_its_path() -> None:
    found = problems(
        """
        top = 1
        [exporter]
        poll_interval = 30
        http_prt = 8000
        staleness_threshold = "x"
        [exporter.leadership]
        provider = "consul"
        lease_duration_secs = 3
        [[clusters]]
        name = "a"
        topic_whitelist = ["a", "("]
        [[clusters]]
        name = "a"
        bootstrap_servers = ""
        labels = {"a-b" = "x", group = "y", z = 1}
        consumer_properties = {"plugin.library.paths" = "p", "sasl.password" = "${UNSET}"}
        [[clusters]]
        bootstrap_servers = "b:9092"
        name = ""
        """
    )
    assert [
        "clusters[0].bootstrap_servers",
        "clusters[0].topic_whitelist[1]",
        "clusters[1].bootstrap_servers",
        'clusters[1].consumer_properties."plugin.library.paths"',
        'clusters[1].consumer_properties."sasl.password"',
        "clusters[1].labels.a-b",
        "clusters[1].labels.group",
        "clusters[1].labels.z",
        "clusters[1].name",
        "clusters[2].name",
        "exporter.http_prt",
        "exporter.leadership.grace_period_secs",
        "exporter.leadership.provider",
        "exporter.poll_interval",
        "exporter.staleness_threshold",
        "top",
    ] == sorted(p.path for p in found)


def test_an_error_says_one_line_for_each_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(
            '[exporter]\nhttp_port = "x"\n[[clusters]]\nname = """a\nb"""\nbootstrap_servers = """a\n b"""',
            {},
        )
    assert [
        'exporter.http_port: expected a whole number from 0 to 65535 without quotes, found "x"',
        'clusters[0].bootstrap_servers: expected one or more brokers such as "kafka1:9092,kafka2:9092", '
        'found """a\\n b"""',
    ] == str(caught.value).splitlines()


def said(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(text, {})
    return str(caught.value).splitlines()


def test_of_thousands_of_problems_a_hundred_are_told_and_the_others_counted() -> None:
    lines = said(CLUSTER + "".join(f"k{number} = 1\n" for number in range(3000)))
    assert ["clusters[0].k0: unknown key", "and 2900 more"] == [lines[0].partition(" (")[0], lines[-1]]
    assert 101 == len(lines)


def test_a_hundred_problems_are_all_told() -> None:
    assert 100 == len(said(CLUSTER + "".join(f"k{number} = 1\n" for number in range(100))))


@pytest.mark.parametrize("wrong", [99, 100])
def test_a_hundred_items_of_an_array_are_all_told(wrong: int) -> None:
    assert wrong == len(problems(f"{CLUSTER}topic_whitelist = [{'3,' * wrong}]"))


def test_what_of_an_array_was_not_checked_is_told() -> None:
    found = problems(f'{CLUSTER}topic_whitelist = ["a", {"3," * 5000}]')
    assert 101 == len(found)
    assert "clusters[0].topic_whitelist: the items from [101] on were not checked" == str(found[-1])


def test_a_long_key_and_a_long_list_of_unset_variables_are_cut() -> None:
    (line,) = said(f"{CLUSTER}{'k' * 5000} = 1")
    assert line.startswith(f'clusters[0]."{"k" * 80}...": unknown key')
    variables = "".join(f"${{V{number}}}" for number in range(1000))
    (line,) = said(f'{CLUSTER}topic_whitelist = ["{variables}"]')
    assert "V9 is not set (${V9:-default} gives it a default); and 990 more, found " in line
    (line,) = said(f'{CLUSTER}topic_whitelist = ["${{{"V" * 5000}}}"]')
    assert len(line) < 500


def test_a_required_key_is_asked_for() -> None:
    assert ["clusters[0].name: is required", "clusters[0].bootstrap_servers: is required"] == [
        str(p) for p in problems("[[clusters]]")
    ]


@pytest.mark.parametrize("text", ["", "clusters = []", "[exporter]", "# nothing"])
def test_no_cluster_is_a_mistake(text: str) -> None:
    assert "clusters: expected one or more tables, written [[clusters]]" == str(problem(text))


@pytest.mark.parametrize(("text", "shown"), [("[clusters]", "a table"), ("clusters = 1", "1")])
def test_clusters_must_be_an_array(text: str, shown: str) -> None:
    assert f"clusters: expected one or more tables, written [[clusters]], found {shown}" == str(problem(text))


def test_every_cluster_must_be_a_table() -> None:
    assert "clusters[0]: expected a table, found 1" == str(problem("clusters = [1]"))


@pytest.mark.parametrize(("text", "shown"), [("exporter = 1", "1"), ("[[exporter]]", "an array")])
def test_the_exporter_must_be_a_table(text: str, shown: str) -> None:
    assert [f"exporter: expected a table, found {shown}"] == [
        str(p) for p in problems(f"{text}\n{CLUSTER}") if p.path == "exporter"
    ]


def test_a_name_that_is_taken_is_a_mistake_also_when_it_comes_from_the_environment() -> None:
    found = problem(f'{CLUSTER}[[clusters]]\nname = "${{A}}"\nbootstrap_servers = "b"', A="a")
    assert 'clusters[1].name: expected another name than clusters[0] has, found "${A}"' == str(found)


@pytest.mark.parametrize(
    ("suggestion", "text"),
    [
        ("did you mean exporter?", "[exporer]"),
        ("did you mean clusters?", "[[cluster]]"),
        ("did you mean poll_interval?", '[exporter]\npoll_intervall = "1s"'),
        ("did you mean exporter.http_port?", "http_port = 1"),
        ("did you mean exporter.poll_interval?", '[exporter.otel]\npoll_interval = "1s"'),
        ("did you mean clusters[].name?", "[exporter]\nname = 'x'"),
        ("known here: exporter, clusters", "zzz = 1"),
    ],
)
def test_an_unknown_key_is_an_error_that_suggests_a_known_one(suggestion: str, text: str) -> None:
    found = [p for p in problems(f"{text}\n{CLUSTER}") if "unknown key" in p.message]
    assert [f"unknown key ({suggestion})"] == [p.message for p in found]


def test_a_key_with_odd_characters_is_spelled_in_one_line() -> None:
    assert 'exporter."a\\n\\u001bb".' not in (
        found := problem(f'{CLUSTER}[exporter]\n"a\\n\\u001bb" = 1').path
    )
    assert 'exporter."a\\n\\u001bb"' == found


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("line 1, column 5", "a = \n"),
        ("line 2, column 1", "a = 1\n= 2\n"),
        ("line 2, column 6", "a = 1\na = 2\n"),
        ("line 2, column 6", "a = 1\na = 2"),
        ("line 1, column 7", 'a = "x'),
        ("line 3, column 2", "a = [\n1,\n2"),
        ("line 1, column 13", "a = ${PORT} = ${PORT}"),
        ("line 1, column 6", "a = '\0'"),
    ],
)
def test_wrong_toml_is_one_message_with_line_and_column(place: str, text: str) -> None:
    found = problem(text, PORT="1")
    assert "the file is not valid TOML: " == found.message[:28]
    assert place == found.path


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: cannot be read: No such file or directory$"):
        read_config(tmp_path / "no.toml", {})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        read_config(tmp_path, {})


def test_a_pipe_without_a_writer_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"pipe: cannot be read: it is no regular file$"):
        read_config(tmp_path / "pipe", {})


def test_a_file_that_is_too_large_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("#" * 65_537)
    with pytest.raises(ConfigError, match=r"config\.toml: cannot be read: it is larger than 65536 bytes$"):
        read_config(path, {})
    path.write_text(CLUSTER + "#" * (65_536 - len(CLUSTER)))
    assert load_config(CLUSTER, {}) == read_config(path, {})


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes("# é".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.toml: is not UTF-8 text \(byte 2\)$"):
        read_config(path, {})


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_file_of_any_editor_is_read(tmp_path: Path, line_end: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + CLUSTER.replace("\n", line_end).encode())
    assert load_config(CLUSTER, {}) == read_config(path, {})


def test_there_are_so_many_clusters_at_most() -> None:
    tables = [f'[[clusters]]\nname = "{number}"\nbootstrap_servers = "h:1"\n' for number in range(201)]
    assert 200 == len(load_config("".join(tables[:200]), {}).clusters)
    assert "clusters: expected at most 200: run several klag-trio for more, found 201 clusters" == str(
        problem("".join(tables))
    )
