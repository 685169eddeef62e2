"""A server with a web config file, and what its clients need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
import yaml
from tests.unit.services.certificates import Authority
from tests.unit.services.publication import FakePublication, small_publication
from tests.unit.services.raw_http import Address

from klag_trio.web.app import make_app
from klag_trio.web.middleware import SecurityMiddleware
from klag_trio.web.passwords import Passwords
from klag_trio.web.security import WebSecurity
from klag_trio.web.server import Timeouts, serve


@attrs.define
class Site:
    """Where it is, what it was told, and what it counted."""

    address: Address
    security: WebSecurity
    folder: Path
    authority: Authority
    scope: trio.CancelScope
    counted: list[str] = attrs.field(factory=list)

    def write(self, config: dict[str, Any] | str) -> None:
        write(self.folder, config)


def write(folder: Path, config: dict[str, Any] | str) -> Path:
    return put(folder / "web.yml", config if isinstance(config, str) else yaml.safe_dump(config))


def put(path: Path, text: str) -> Path:
    """Write a file at once: whoever looks meanwhile sees no half of it."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    return new.replace(path)


def tls_config(folder: Path, authority: Authority, **more: object) -> dict[str, Any]:
    """A web config with a new certificate of the authority's."""
    authority.write_server(folder)
    return {"tls_server_config": {"cert_file": "server.crt", "key_file": "server.key", **more}}


@asynccontextmanager
async def secured(
    folder: Path,
    config: dict[str, Any] | str,
    authority: Authority,
    publication: FakePublication | None = None,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    **options: Any,
) -> AsyncIterator[Site]:
    security = await WebSecurity.load(write(folder, config))
    app = SecurityMiddleware(
        make_app(publication or small_publication()), lambda: security.current, Passwords()
    )
    async with trio.open_nursery() as nursery:
        listen = partial(serve, app, host="127.0.0.1", port=0, security=lambda: security.current)
        address = await nursery.start(partial(listen, timeouts=timeouts, **options))
        site = Site(address, security, folder, authority, nursery.cancel_scope)
        await nursery.start(security.run, site.counted.append)
        try:
            yield site
        finally:
            nursery.cancel_scope.cancel()
