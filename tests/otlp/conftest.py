"""A real broker and a real collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.kafka.conftest import driver, kafka

from stack.collector import OtelCollector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["driver", "kafka"]


@pytest.fixture
def otel_collector(tmp_path: Path) -> Iterator[OtelCollector]:
    with OtelCollector(tmp_path) as running:
        yield running
