"""Where the collector's program comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stack.collector import binary, build
from stack.golang import BuildError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_without_go_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(BuildError, match=r"there is no go\. Install Go 1\.25 or newer: https://go\.dev"):
        binary()


def test_it_is_built_once_and_kept_for_every_clone(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    def pretend(ready: Path) -> None:
        built.append(ready)
        (ready / "otelcol").touch()

    monkeypatch.setattr(build, "_build", pretend)
    assert binary() == binary()
    assert binary().is_file()
    assert 1 == len(built)
    assert empty_cache / "klag-trio" == binary().parent.parent


def test_another_manifest_is_built_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_build", lambda _: None)
    first = binary()
    changed = tmp_path / "manifest.yaml"
    changed.write_text("dist: {}\n")
    monkeypatch.setattr(build, "MANIFEST", changed)
    assert first != binary()
