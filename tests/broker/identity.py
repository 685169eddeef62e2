"""A small identity provider: it gives tokens to those who know a secret, and the keys that verify them."""

from __future__ import annotations

import base64
import json
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import attrs
from tests.fakes.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.certificates import TokenKey

AUDIENCE = "kafka"


@attrs.frozen
class IdentityProvider:
    """Where it is; any process may ask."""

    url: str

    def token_url(self, *, lifetime: int = 600, audience: str = AUDIENCE) -> str:
        """Where tokens come from that live so many seconds."""
        return f"{self.url}/token/{lifetime}?{audience}"

    def tokens_given(self) -> int:
        """How many tokens it has given so far."""
        with urllib.request.urlopen(f"{self.url}/given", timeout=10) as answer:  # noqa: S310
            return int(answer.read())


@contextmanager
def identity_provider(key: TokenKey, clients: Mapping[str, str]) -> Iterator[IdentityProvider]:
    """Serve on a free port of loopback within this block.

    It answers /jwks, /given, and client_credentials (RFC 6749, section 4.4) at /token/SECONDS?AUDIENCE.
    """
    given: list[str] = []

    def token(authorization: str, path: str) -> str | None:
        """The answer to who says this in the header Authorization; None for a stranger."""
        client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if clients.get(client) != secret:
            return None
        given.append(client)
        lifetime, _, audience = path.rpartition("/")[2].partition("?")
        token = key.sign({"sub": client, "aud": audience}, lifetime=int(lifetime))
        return json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime)})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(str(len(given)) if self.path == "/given" else key.key_set)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(token(self.headers["Authorization"], self.path))

        def _answer(self, text: str | None) -> None:
            self.send_response(401 if text is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write((text or '{"error": "invalid_client"}').encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as port:
        yield IdentityProvider(f"http://127.0.0.1:{port}")
