from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "docs" / "pictures"
SHOWN = sorted(
    {PICTURES / name for name in re.findall(r"docs/pictures/([\w.-]+)", (ROOT / "README.md").read_text())}
)


def test_the_readme_shows_pictures() -> None:
    assert SHOWN


@pytest.mark.parametrize("picture", sorted({*PICTURES.iterdir(), *SHOWN}), ids=lambda path: path.name)
def test_a_picture_is_there_and_small(picture: Path) -> None:
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG\r\n")
    assert len(data) < 200_000
