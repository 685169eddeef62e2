"""A real Prometheus, and the rules that it is to run."""

from __future__ import annotations

from .build import with_otlp
from .server import RULES, PrometheusError, PrometheusServer, Sample

__all__ = ["RULES", "PrometheusError", "PrometheusServer", "Sample", "with_otlp"]
