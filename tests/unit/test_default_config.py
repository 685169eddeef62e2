"""Where a configuration is looked for when none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from klag_trio import cli


def test_the_working_directory_goes_first_then_the_folder_of_klag_exporters_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "etc.toml"
    monkeypatch.setattr(cli, "_CONFIGS", (Path("config.toml"), elsewhere))
    # Where there is none, the first is the one that is missed.
    assert Path("config.toml") == cli.default_config()
    elsewhere.touch()
    assert elsewhere == cli.default_config()
    Path("config.toml").touch()
    assert Path("config.toml") == cli.default_config()
