"""A real OpenTelemetry Collector on loopback ports."""

from __future__ import annotations

from .build import binary
from .process import CONFIG, OtelCollector

__all__ = ["CONFIG", "OtelCollector", "binary"]
