"""A small identity provider: it gives tokens to those who know a secret, and the keys that verify them."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from tests.kafka.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.certificates import TokenKey

AUDIENCE = "kafka"


class IdentityProvider:
    """Answers /jwks, and client_credentials (RFC 6749, section 4.4) at /token/SECONDS?AUDIENCE."""

    def __init__(self, key: TokenKey, clients: Mapping[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.given: list[str] = []
        """The client of each token that was given."""
        self.key = key
        self.clients = clients

    def token_url(self, *, lifetime: int = 600, audience: str = AUDIENCE) -> str:
        """Where tokens come from that live so many seconds."""
        return f"{self.url}/token/{lifetime}?{audience}"

    def token(self, authorization: str, path: str) -> str | None:
        """The answer to who says this in the header Authorization; None for a stranger."""
        client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if self.clients.get(client) != secret:
            return None
        self.given.append(client)
        lifetime, _, audience = path.rpartition("/")[2].partition("?")
        token = self.key.sign({"sub": client, "aud": audience}, lifetime=int(lifetime))
        return json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime)})


@contextmanager
def identity_provider(key: TokenKey, clients: Mapping[str, str]) -> Iterator[IdentityProvider]:
    """Serve on a free port of loopback within this block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(key.key_set)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(provider.token(self.headers["Authorization"], self.path))

        def _answer(self, text: str | None) -> None:
            self.send_response(401 if text is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write((text or '{"error": "invalid_client"}').encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as port:
        provider = IdentityProvider(key, clients, port)
        yield provider
