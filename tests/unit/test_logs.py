"""Lines that another process has logged."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from klag_trio.logs import LEVELS

# The lines are logged once for all tests here.
pytestmark = pytest.mark.xdist_group("logs")

LINES = Path(__file__).with_name("log_lines.py")
MANY_LINES = Path(__file__).with_name("log_many_lines.py")
# As log_many_lines.py makes them.
WHOLE_LINE = re.compile(
    r"20\d\d-\S+Z \[(info     \] a line of ours +line=\d+ thread=\d|warning  \] a line of a library: \d \d+)"
)

Logged = Callable[[str, str], str]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """What is logged at a level and in a form."""
    folder = tmp_path_factory.mktemp("logged")
    done = subprocess.run(
        [sys.executable, str(LINES), str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    assert ("", "") == (done.stdout, done.stderr)
    return lambda level, form: (folder / f"{level}.{form}").read_text()


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_shows_its_own_lines_and_graver_ones(logged: Logged, level: str, form: str) -> None:
    shown = logged(level, form).replace("library's", "")
    ranks = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    assert {name: LEVELS[level] <= rank for name, rank in ranks.items()} == {
        name: f" {name} line" in shown for name in ranks
    }


@pytest.mark.parametrize(
    ("level", "shown"), [("trace", True), ("info", True), ("warn", True), ("error", False)]
)
def test_libraries_are_heard_from_warnings_on(logged: Logged, level: str, shown: bool) -> None:
    lines = logged(level, "text")
    assert "library's info line" not in lines
    assert shown == ("library's warning line" in lines)


def test_json_is_one_object_a_line_of_the_same_shape_for_ours_and_the_libraries(logged: Logged) -> None:
    events = [json.loads(line) for line in logged("info", "json").splitlines()]
    assert all({"event", "level", "timestamp"} <= event.keys() for event in events)
    by_event = {event["event"]: event for event in events}
    ours = by_event["an info line"]
    assert ("info", "prod", "app", 2**60) == (ours["level"], ours["cluster"], ours["group"], ours["lag"])
    assert "warning" == by_event["a library's warning line"]["level"]
    assert "RuntimeError: boom" in by_event["a traceback"]["exception"]


def test_text_has_the_fields_in_the_line_and_no_colours_where_nobody_looks(logged: Logged) -> None:
    lines = logged("info", "text")
    (info,) = [line for line in lines.splitlines() if "an info line" in line]
    assert "cluster=prod" in info
    assert "group=app" in info
    assert "\x1b" not in lines
    assert "RuntimeError: boom" in lines


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_logged_with_what_holds_it(logged: Logged, form: str) -> None:
    lines = logged("trace", form)
    assert "unused:1" in lines
    assert "tell-nobody" not in lines


def test_a_long_name_has_an_end(logged: Logged) -> None:
    (line,) = [line for line in logged("info", "json").splitlines() if "a long line" in line]
    assert "g" * 1000 + "... (2000 characters)" == json.loads(line)["group"]


def test_control_characters_in_a_name_do_not_reach_the_terminal(logged: Logged) -> None:
    lines = logged("info", "text")
    assert "\x1b" not in lines
    assert r"evil\x1b[2J" in lines


def test_each_line_is_whole_or_counted_whichever_thread_it_is_of() -> None:
    process = subprocess.Popen(
        [sys.executable, str(MANY_LINES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        # Nobody reads what it logs until it has logged all.
        assert process.stdout.readline() == "logged\n"
        out, written = process.communicate("\n", 60)
    lines = written.splitlines()
    assert [] == [line for line in lines if not WHOLE_LINE.fullmatch(line)]
    assert 40_004 == len(lines) + int(out)
    assert 10_000 <= len(lines)
    assert len(lines) == len(set(lines))
