"""Quart's test client, around an app that is none of Quart's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart_trio import QuartTrio
from quart_trio.testing import TrioClient

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework


def client_of(app: ASGIFramework) -> TrioClient:
    around = QuartTrio(__name__, static_folder=None)
    around.asgi_app = app  # type: ignore[method-assign,assignment]
    return TrioClient(around)
