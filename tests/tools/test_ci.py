"""What CI runs for a change, and what it says where something fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CI = ROOT / ".ci"
MAKE = """\
#!/bin/sh
echo "$*" >>calls
echo "output of $*"
[ "$1" != "${FAILS:-}" ]
"""


class Checkout:
    """A repository with our .ci, and a make that only writes down how it is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(CI, folder / ".ci", ignore=shutil.ignore_patterns("verified"))
        self.git("init", "--quiet")
        self.write("README.md", "src/klag_trio/kubernetes/leases.py", "src/klag_trio/kafka/admin.py")
        self.commit()
        tools = folder.with_name("tools")
        tools.mkdir()
        (tools / "make").write_text(MAKE)
        (tools / "make").chmod(0o755)
        self.environ = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, *paths: str) -> None:
        for path in paths:
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{file.read_text() if file.exists() else ''}{path}\n")

    def commit(self) -> str:
        self.git("add", "--all", ".")
        self.git("commit", "--quiet", "--message", "a change")
        return self.git("rev-parse", "HEAD")

    def verified(self, commit: str) -> None:
        (self.folder / ".ci" / "verified").write_text(f"{commit}\n")
        self.commit()

    def touched(self, *arguments: str) -> list[str]:
        done = subprocess.run(
            [".ci/touched", *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.split()

    def run(self, *arguments: str, fails: str = "") -> tuple[int, str, list[str]]:
        """Exit code, output, and the calls of make."""
        done = subprocess.run(
            ["bash", ".ci/run", *arguments],
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            env={**self.environ, "FAILS": fails},
        )
        return done.returncode, done.stdout, (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return Checkout(folder)


@pytest.fixture
def everything(checkout: Checkout) -> list[str]:
    return checkout.touched("all")


def test_all_suites_run_where_no_commit_is_known_to_be_verified(
    checkout: Checkout, everything: list[str]
) -> None:
    assert everything == checkout.touched()


def test_nothing_runs_for_the_verified_commit_itself(checkout: Checkout) -> None:
    checkout.verified(checkout.git("rev-parse", "HEAD"))
    assert [] == checkout.touched()


@pytest.mark.parametrize(
    ("path", "suites"),
    [
        ("docs/metrics.md", []),
        ("src/klag_trio/kubernetes/leases.py", ["otlp", "load", "kubernetes", "python-3.13"]),
        ("src/klag_trio/web/assets/style.css", ["browser"]),
        ("tests/unit/domain/test_lag.py", ["otlp", "load", "python-3.13"]),
        ("Dockerfile", ["image"]),
    ],
)
def test_a_change_runs_what_the_table_says(checkout: Checkout, path: str, suites: list[str]) -> None:
    checkout.verified(checkout.git("rev-parse", "HEAD"))
    checkout.write(path)
    checkout.commit()
    assert suites == checkout.touched()


@pytest.mark.parametrize("path", ["src/klag_trio/kafka/admin.py", "a_new_folder/file", "pyproject.toml"])
def test_a_change_that_can_touch_anything_runs_all(
    checkout: Checkout, everything: list[str], path: str
) -> None:
    checkout.verified(checkout.git("rev-parse", "HEAD"))
    checkout.write(path)
    checkout.commit()
    assert everything == checkout.touched()


def test_a_file_that_moved_counts_where_it_was_too(checkout: Checkout) -> None:
    checkout.verified(checkout.git("rev-parse", "HEAD"))
    checkout.git("mv", "src/klag_trio/kubernetes/leases.py", "docs.md")
    checkout.commit()
    assert "kubernetes" in checkout.touched()


def test_all_suites_run_where_the_verified_commit_is_no_ancestor(
    checkout: Checkout, everything: list[str]
) -> None:
    main = checkout.git("branch", "--show-current")
    checkout.git("switch", "--quiet", "--create", "other")
    checkout.write("other")
    elsewhere = checkout.commit()
    checkout.git("switch", "--quiet", main)
    checkout.verified(elsewhere)
    assert everything == checkout.touched()


def test_a_table_with_a_suite_that_does_not_exist_is_refused(checkout: Checkout) -> None:
    (checkout.folder / ".ci" / "suites").write_text("src/*  browsers\n")
    done = subprocess.run([".ci/touched"], cwd=checkout.folder, check=False, capture_output=True, text=True)
    assert 1 == done.returncode
    assert "browsers" in done.stderr


def test_every_suite_is_a_target_and_every_line_of_the_table_is_about_a_file(everything: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for suite in everything:
        target = "soak" if suite == "soak" else f"test-{suite}"
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [*tracked.stdout.splitlines(), ".ci/verified"]
    for line in (CI / "suites").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pattern = line.split()[0].replace("*", ".*").replace("+", r"\+")
            assert any(re.fullmatch(pattern, file) for file in files), line


def test_lint_docs_tests_and_the_touched_suites_run_and_their_seconds_are_told(checkout: Checkout) -> None:
    checkout.verified(checkout.git("rev-parse", "HEAD"))
    checkout.write("Dockerfile")
    checkout.commit()
    code, output, calls = checkout.run()
    assert 0 == code
    assert ["lint", "docs", "test", "test-image"] == calls
    for name in ("lint", "docs", "test", "image", "all"):
        assert re.search(rf"^{name} +\d+$", output, re.MULTILINE)
    assert output.endswith("suites: 4 passed, 0 failed\n")


def test_everything_runs_when_it_is_asked_for(checkout: Checkout, everything: list[str]) -> None:
    checkout.verified(checkout.git("rev-parse", "HEAD"))
    code, _, calls = checkout.run("all")
    assert 0 == code
    assert len(everything) + 3 == len(calls)
    assert "soak CYCLES=200" in calls


def test_a_suite_that_fails_keeps_none_from_running_and_its_end_is_shown_at_the_end(
    checkout: Checkout, everything: list[str]
) -> None:
    code, output, calls = checkout.run(fails="test-helm")
    assert 1 == code
    assert len(everything) + 3 == len(calls)
    _, _, end = output.partition("=== the last lines of helm, which failed\n")
    assert "output of test-helm" in end
    assert f"suites: {len(everything) + 2} passed, 1 failed (helm)" in end


# make verify


def verify(checkout: Checkout, **environ: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "scripts" / "verify", checkout.folder / ".git" / "verify")
    return subprocess.run(
        ["sh", ".git/verify"],
        cwd=checkout.folder,
        check=False,
        capture_output=True,
        text=True,
        env={**checkout.environ, **environ},
    )


def noted(checkout: Checkout) -> str | None:
    file = checkout.folder / ".ci" / "verified"
    return file.read_text().strip() if file.exists() else None


@pytest.fixture
def ignoring(checkout: Checkout) -> Checkout:
    """A checkout in which what .ci/run and make write is no change."""
    (checkout.folder / ".gitignore").write_text(".cache/\ncalls\n")
    checkout.commit()
    return checkout


def test_the_commit_that_passed_everything_is_noted(ignoring: Checkout, everything: list[str]) -> None:
    assert 0 == verify(ignoring).returncode
    assert ignoring.git("rev-parse", "HEAD") == noted(ignoring)
    assert len(everything) + 3 == len((ignoring.folder / "calls").read_text().splitlines())


@pytest.mark.parametrize("environ", [{"FAILS": "test-otlp"}, {"KLAG_TEST_BOOTSTRAP": "localhost:9092"}])
def test_nothing_is_noted_where_something_failed_or_was_left_out(
    ignoring: Checkout, environ: dict[str, str]
) -> None:
    assert 0 != verify(ignoring, **environ).returncode
    assert noted(ignoring) is None


def test_nothing_is_noted_of_what_is_not_committed(ignoring: Checkout) -> None:
    ignoring.write("README.md")
    done = verify(ignoring)
    assert 1 == done.returncode
    assert "commit first" in done.stderr
    assert noted(ignoring) is None


def test_a_change_that_is_not_committed_yet_counts(checkout: Checkout) -> None:
    checkout.verified(checkout.git("rev-parse", "HEAD"))
    checkout.write("Dockerfile", "src/klag_trio/web/assets/new.css")
    assert ["browser", "image"] == checkout.touched()
