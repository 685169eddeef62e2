"""An API server that keeps one Lease in memory, over HTTP; a real one is in tests/kubernetes."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import attrs
from tests.fakes.serving import serving


@attrs.define
class LeaseApi:
    """Takes a write if it is based on the newest version, as the real one does."""

    port: int = 0
    delay: float = 0.0
    """Seconds that a write takes."""
    documents: list[dict[str, Any]] = attrs.field(factory=list)
    """All that were written, the newest last."""
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    @property
    def holder(self) -> str:
        """Who has it now; empty where nobody has."""
        return str(self.documents[-1]["spec"]["holderIdentity"]) if self.documents else ""

    def kubeconfig(self, folder: Path) -> Path:
        """The way to it."""
        path = folder / "kubeconfig"
        server = f"http://127.0.0.1:{self.port}"
        # YAML takes JSON too.
        document = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "pod"}}],
            "clusters": [{"name": "test", "cluster": {"server": server}}],
            "users": [{"name": "pod", "user": {"token": "unused"}}],
        }
        path.write_text(json.dumps(document))
        return path

    def write(self, document: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        """Keep it, and answer what is kept then."""
        time.sleep(self.delay)
        with self._lock:
            newest = str(len(self.documents)) if self.documents else None
            if document["metadata"].get("resourceVersion") != newest:
                return HTTPStatus.CONFLICT, {"message": "the object has been modified"}
            document["metadata"]["resourceVersion"] = str(len(self.documents) + 1)
            self.documents.append(document)
            return HTTPStatus.OK, document

    def give_to(self, holder: str) -> None:
        """Write another holder in, whatever is being written meanwhile."""
        with self._lock:
            document = copy.deepcopy(self.documents[-1])
            document["spec"]["holderIdentity"] = holder
            document["metadata"]["resourceVersion"] = str(len(self.documents) + 1)
            self.documents.append(document)


@contextmanager
def lease_api() -> Iterator[LeaseApi]:
    """Serve one on a free port."""
    api = LeaseApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if api.documents:
                self.answer(HTTPStatus.OK, api.documents[-1])
            else:
                self.answer(HTTPStatus.NOT_FOUND, {"message": "not found"})

        def do_PUT(self) -> None:
            self.answer(*api.write(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        do_POST = do_PUT  # noqa: N815 - as it is called there

        def answer(self, status: HTTPStatus, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as api.port:
        yield api
