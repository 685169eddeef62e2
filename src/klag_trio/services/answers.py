"""Short answers in text, as ASGI messages."""

from __future__ import annotations

from hypercorn.typing import ASGISendCallable

PLAIN = b"text/plain; charset=utf-8"
JSON = b"application/json"


async def answer(
    send: ASGISendCallable, status: int, text: str, *headers: tuple[bytes, bytes], content_type: bytes = PLAIN
) -> None:
    """Send the whole of it; the server leaves the text out where HEAD was asked for."""
    body = text.encode("utf-8", "replace")
    all_headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        # No stale answer to a probe from a proxy, and no guessing at the type of what carries Kafka's names.
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": all_headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})
