from __future__ import annotations

from tests.unit.services.conftest import logged

__all__ = ["logged"]
