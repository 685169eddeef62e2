"""What tests, demo and benchmarks run against: real services on loopback ports, without Docker."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""
TEST_STACK = ROOT / "test-stack"
"""The files that test-stack/compose.yaml mounts."""
