"""The HTTP session of OpenTelemetry's exporter, with what that leaves to its caller.

The exporter (1.45) takes redirections and pages for people for a success, reads an answer whole however long
it is, and may try again what has been given up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
import urllib3
from requests.utils import get_environ_proxies

_ANSWER_BYTES = 4096


class Session(requests.Session):
    """Sends what the exporter posts, until it is closed."""

    def __init__(self, endpoint: str, say: Callable[[str], None]) -> None:
        """`say` gets what the exporter does not tell: why there is no answer, or what a refusal says."""
        super().__init__()
        # Else a netrc file would replace a header, and REQUESTS_CA_BUNDLE the certificate to trust.
        self.trust_env = False
        self.proxies.update(get_environ_proxies(endpoint))
        self._say = say
        self._closed = False

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request and read its answer, or the beginning of one that does not end.

        Raises:
            requests.RequestException: there is none, or none of OTLP.

        """
        if self._closed:
            raise requests.RequestException("it was given up")
        try:
            response = super().send(request, **{**options, "stream": True})
            answer = response.raw.read(_ANSWER_BYTES, decode_content=True)
        except urllib3.exceptions.HTTPError as error:
            self._say(str(error))
            raise requests.ConnectionError(str(error)) from error
        except requests.RequestException as error:
            self._say(str(error))
            raise
        if len(answer) == _ANSWER_BYTES:
            response.close()
        self._look_at(response, answer)
        return response

    def _look_at(self, response: requests.Response, answer: bytes) -> None:
        status = f"HTTP {response.status_code} {response.reason}"
        kind = response.headers.get("Content-Type", "")
        if 300 <= response.status_code < 400:
            raise requests.TooManyRedirects(f"{status}, to {response.headers.get('Location')}")
        if not response.ok:
            # Prometheus's are for people to read; a collector's are protobuf.
            words = answer.decode(errors="replace").strip() if kind.startswith("text/plain") else ""
            self._say(": ".join(filter(None, [status, words.partition("\n")[0]])))
        elif kind.startswith("text/html"):
            raise requests.RequestException(f"{status} with a page for people: it takes no OTLP there")

    def close(self) -> None:
        """Send nothing any more."""
        self._closed = True
        super().close()
