"""What starts are quick with, in the user's cache: jars, formatted data folders, archives of classes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from stack import TEST_STACK
from stack.cache import cached, folder_of
from stack.kafka import CURRENT, KafkaCluster, StackError
from stack.kafka.jars import jars
from stack.kafka.prepared import class_archive, copy_formatted, make_class_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

# No such version is ever fetched.
VERSION = "0.0.0"
MAVEN = """\
#!/bin/sh
for argument; do
  case $argument in -DoutputDirectory=*) folder=${argument#*=} ;; esac
done
echo jar > "$folder/kafka.jar"
echo fetched >> "$0.runs"
[ ! -e "$0.fails" ] || { echo no route to host; exit 1; }
"""
JAVA = """\
#!/bin/sh
[ "$1" != -version ] || { echo 'openjdk version "17.0.1"' >&2; exit; }
for argument; do
  case $argument in *.properties) folder=$(sed -n s/^log.dirs=//p "$argument") ;; esac
done
printf 'node.id=1\\ncluster.id=a\\ndirectory.id=b\\nversion=1\\n' > "$folder/meta.properties"
echo "$@" > "$folder/arguments"
echo formatted >> "$0.runs"
[ ! -e "$0.fails" ] || { echo unrecognized arguments; exit 1; }
"""


@attrs.frozen
class Tool:
    """A program that stands in for one that takes long."""

    path: Path

    @property
    def runs(self) -> int:
        said = self.path.with_name(f"{self.path.name}.runs")
        return len(said.read_text().splitlines()) if said.exists() else 0

    def fail(self, fails: bool = True) -> None:
        mark = self.path.with_name(f"{self.path.name}.fails")
        if fails:
            mark.touch()
        else:
            mark.unlink()


def tool(path: Path, text: str) -> Tool:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return Tool(path)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "klag-trio"


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    monkeypatch.setenv("PATH", str(tmp_path / "maven"), prepend=":")
    return tool(tmp_path / "maven" / "mvn", MAVEN)


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maven: Tool) -> Tool:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    return tool(tmp_path / "java" / "bin" / "java", JAVA)


def kept(cache: Path) -> set[str]:
    """What a later call would find, and what takes room."""
    return {entry.name for entry in cache.iterdir() if entry.suffix != ".lock" and entry.name != "ports"}


# Jars


def test_jars_are_fetched_once(cache: Path, maven: Tool) -> None:
    assert cache / f"kafka-{VERSION}" == jars(VERSION) == jars(VERSION)
    assert (jars(VERSION) / "kafka.jar").is_file()
    assert 1 == maven.runs


def test_jars_that_cannot_be_fetched_leave_nothing_and_are_fetched_by_the_next_who_asks(
    cache: Path, maven: Tool
) -> None:
    maven.fail()
    with pytest.raises(StackError, match=f"^Maven could not fetch Kafka {VERSION}:\nno route to host"):
        jars(VERSION)
    assert set() == kept(cache)
    maven.fail(False)
    assert (jars(VERSION) / "kafka.jar").is_file()


# Formatted data folders


def meta(folder: Path) -> dict[str, str]:
    lines = (folder / "meta.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_every_copy_of_a_formatted_folder_has_ids_of_its_own(java: Tool, tmp_path: Path) -> None:
    copies = [tmp_path / "1", tmp_path / "2"]
    for node_id, copy in enumerate(copies, 7):
        copy_formatted(copy, VERSION, [], node_id=node_id, cluster_id=f"cluster-{node_id}")
    one, other = map(meta, copies)
    assert ("7", "cluster-7", "1") == (one["node.id"], one["cluster.id"], one["version"])
    assert ("8", "cluster-8", "1") == (other["node.id"], other["cluster.id"], other["version"])
    assert 3 == len({"b", one["directory.id"], other["directory.id"]})
    assert 1 == java.runs


def test_other_arguments_give_another_formatted_folder(java: Tool, tmp_path: Path) -> None:
    scram = ["--add-scram", "SCRAM-SHA-256=[name=a,password=b]"]
    told = {}
    for number, arguments in enumerate([[], scram, [*scram, *scram], [], scram]):
        copy = tmp_path / str(number)
        copy_formatted(copy, VERSION, arguments, node_id=1, cluster_id="c")
        told[number] = (copy / "arguments").read_text()
    assert 3 == java.runs
    assert (told[0], told[1]) == (told[3], told[4])
    assert [0, 1, 2] == [told[number].count("--add-scram") for number in range(3)]


def test_a_folder_that_cannot_be_formatted_leaves_nothing_and_is_formatted_by_the_next_who_asks(
    cache: Path, java: Tool, tmp_path: Path
) -> None:
    java.fail()
    with pytest.raises(StackError, match=f"^Kafka {VERSION} cannot format a folder:\nunrecognized arguments"):
        copy_formatted(tmp_path / "data", VERSION, [], node_id=1, cluster_id="c")
    assert {f"kafka-{VERSION}"} == kept(cache)
    assert not (tmp_path / "data").exists()
    java.fail(False)
    copy_formatted(tmp_path / "data", VERSION, [], node_id=1, cluster_id="c")
    assert "c" == meta(tmp_path / "data")["cluster.id"]


# Archives of classes


@contextmanager
def cluster_that_writes(archive: str, error: Exception | None = None) -> Iterator[object]:
    if archive:
        Path(archive).write_text("classes")
    if error is not None:
        raise error
    yield type("Cluster", (), {"nodes": [type("Node", (), {"stop": lambda *_: None})()]})


def let_a_broker_write(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, *, writes: bool = True
) -> list[str]:
    """Pretend that one runs; the list has a version for each time."""
    runs: list[str] = []

    def cluster(*, version: str, jvm_arguments: list[str]) -> object:
        runs.append(version)
        (archive,) = (a.partition("=")[2] for a in jvm_arguments if "ArchiveClassesAtExit" in a)
        return cluster_that_writes(archive if writes else "", error)

    monkeypatch.setattr("stack.kafka.cluster.KafkaCluster", cluster)
    return runs


def test_an_archive_is_written_once_for_each_java(java: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = let_a_broker_write(monkeypatch)
    for _ in range(2):
        make_class_archive(VERSION)
    assert [VERSION] == runs
    first = class_archive(VERSION)
    assert "classes" == first.read_text()
    tool(java.path, JAVA.replace("17.0.1", "21.0.1"))
    assert not class_archive(VERSION).exists()
    make_class_archive(VERSION)
    assert [VERSION, VERSION] == runs
    assert first.exists()


def test_an_archive_that_cannot_be_written_leaves_nothing_and_is_written_by_the_next_who_asks(
    cache: Path, java: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_a_broker_write(monkeypatch, StackError("node 1 is not ready in time"))
    with pytest.raises(StackError, match="not ready"):
        make_class_archive(VERSION)
    assert set() == kept(cache)
    let_a_broker_write(monkeypatch, writes=False)
    with pytest.raises(StackError, match="wrote no archive"):
        make_class_archive(VERSION)
    assert set() == kept(cache)
    let_a_broker_write(monkeypatch)
    make_class_archive(VERSION)
    assert class_archive(VERSION).exists()


def test_a_broker_starts_with_nothing_prepared_but_its_jars(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as outside:
        outside.delenv("XDG_CACHE_HOME")
        fetched = jars(CURRENT)
    cache.mkdir(parents=True)
    (cache / fetched.name).symlink_to(fetched)
    with KafkaCluster():
        assert not class_archive(CURRENT).exists()
    formatted, present = sorted(kept(cache), key=len, reverse=True)
    assert fetched.name == present
    assert formatted.startswith(f"{fetched.name}-formatted-")


# Whatever it is


def test_of_those_who_ask_at_once_one_fills_the_folder() -> None:
    filled: list[Path] = []
    seen: list[str] = []
    together = threading.Barrier(4)

    def ask() -> None:
        together.wait(30)
        with cached("thing") as (_, empty):
            if empty is not None:
                filled.append(empty)
                (empty / "part").write_text("whole")
        seen.append((folder_of("thing") / "part").read_text())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == len(filled)
    assert 4 * ["whole"] == seen


def test_what_is_killed_while_it_fills_a_folder_leaves_none_and_nobody_waits_for_it() -> None:
    fill = (
        "from stack.cache import cached\n"
        "with cached('thing') as (_, empty):\n"
        "    (empty / 'part').touch()\n"
        "    print(flush=True)\n"
        "    input()\n"
    )
    filling = subprocess.Popen(
        [sys.executable, "-c", fill], cwd=TEST_STACK, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with filling:
        assert filling.stdout is not None
        filling.stdout.readline()
        filling.send_signal(signal.SIGKILL)
    with cached("thing") as (folder, empty):
        assert empty is not None
        assert not folder.exists()
        assert [] == list(empty.iterdir())
    assert folder.is_dir()
