"""A real broker and a real collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stack.collector import OtelCollector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def otel_collector(tmp_path: Path) -> Iterator[OtelCollector]:
    with OtelCollector(tmp_path) as running:
        yield running
