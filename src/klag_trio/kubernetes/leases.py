"""One Lease in the Kubernetes API, over httpx."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx
import trio

from klag_trio import __version__
from klag_trio.domain.lease import Lease
from klag_trio.kubernetes.access import Access, AccessError
from klag_trio.stopping import LEASE_CONNECTION_SECONDS

# Which process holds it. Kept beside the identity, which two processes may share by mistake.
PROCESS = "klag-trio/process"
_MESSAGE = 300


class LeaseUnavailable(Exception):
    """The API server cannot be asked, refuses, or makes no sense; what became of a write is not known."""

    def __init__(self, reason: str, *, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds that the server asks us to wait."""


class LeaseConflict(Exception):
    """The Lease is no longer what the write was based on; nothing was written."""


class KubernetesLeases:
    """Reads and writes one Lease.

    A call may be cancelled at any moment, and a write may happen nevertheless. No call has a deadline of
    its own.
    """

    def __init__(self, access: Access, *, namespace: str, name: str) -> None:
        self._access = access
        self._collection = f"{access.server}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace, self._name = namespace, name
        self._client: httpx.AsyncClient | None = None

    async def read(self) -> Lease | None:
        """The Lease as it is now; None where there is none.

        Raises:
            LeaseUnavailable: it cannot be said.

        """
        answer = await self._ask("GET", f"{self._collection}/{self._name}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        return _lease(self._good(answer))

    async def write(self, lease: Lease) -> Lease:
        """Create or replace it, if it still is the version that `lease` names; returns it as it is then.

        Raises:
            LeaseConflict: it is another version by now, or gone.
            LeaseUnavailable: it cannot be said whether it was written.

        """
        document = self._document(lease)
        if lease.version:
            answer = await self._ask("PUT", f"{self._collection}/{self._name}", document)
            # A Lease that was deleted meanwhile.
            conflict = {HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND}
        else:
            answer = await self._ask("POST", self._collection, document)
            conflict = {HTTPStatus.CONFLICT}
        if answer.status_code in conflict:
            raise LeaseConflict
        return _lease(self._good(answer))

    async def aclose(self) -> None:
        """Close the connection; the next call opens another."""
        client, self._client = self._client, None
        if client is not None:
            with trio.move_on_after(LEASE_CONNECTION_SECONDS, shield=True):
                await client.aclose()

    async def _ask(
        self, method: str, url: str, document: Mapping[str, object] | None = None
    ) -> httpx.Response:
        done = False
        try:
            if self._client is None:
                self._client = httpx.AsyncClient(
                    verify=self._access.tls(),
                    # The variables for proxies are for the way out of the cluster.
                    trust_env=False,
                    timeout=None,  # noqa: S113 - the caller's scope ends it
                    headers={"User-Agent": f"klag-trio/{__version__}"},
                )
            token = self._access.token()
            answer = await self._client.request(
                method,
                url,
                json=document,
                headers={} if token is None else {"Authorization": f"Bearer {token}"},
                extensions={} if (name := self._access.server_name) is None else {"sni_hostname": name},
            )
            # A certificate of ours that has run out is refused as long as its connection lives.
            refused = answer.status_code == HTTPStatus.UNAUTHORIZED
            done = answer.is_success or (answer.is_client_error and not refused)
        except AccessError as exc:
            raise LeaseUnavailable(str(exc)) from exc
        except httpx.LocalProtocolError as exc:
            # It quotes what it does not like, such as a header with a token in it.
            raise LeaseUnavailable("LocalProtocolError") from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise LeaseUnavailable(f"{type(exc).__name__}: {exc}".removesuffix(": ")) from exc
        finally:
            # After a failure, or a cancelled call, another connection may lead to a server that answers, with
            # the certificates as they are then.
            if not done:
                await self.aclose()
        return answer

    def _good(self, answer: httpx.Response) -> Mapping[str, Any]:
        """The object in an answer that is no error."""
        try:
            document = answer.json()
        except ValueError:
            document = None
        if answer.is_success and isinstance(document, dict):
            return document
        message = document.get("message") if isinstance(document, dict) else None
        reason = f"{answer.status_code} {answer.reason_phrase}: {message or 'no reason given'}"[:_MESSAGE]
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            reason += f" (needed: get and update on lease {self._namespace}/{self._name}, create on leases)"
        raise LeaseUnavailable(reason, retry_after=_seconds(answer.headers.get("Retry-After")))

    def _document(self, lease: Lease) -> dict[str, object]:
        old = lease.document
        metadata = {**_table(old.get("metadata")), "name": self._name, "namespace": self._namespace}
        annotations = {**_table(metadata.get("annotations")), PROCESS: lease.process}
        if not lease.process:
            del annotations[PROCESS]
        return {
            **old,
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "annotations": annotations},
            "spec": {
                **_table(old.get("spec")),
                "holderIdentity": lease.holder,
                "leaseDurationSeconds": lease.duration,
                "acquireTime": _micro_time(lease.acquired),
                "renewTime": _micro_time(lease.renewed),
                "leaseTransitions": lease.transitions,
            },
        }


def _lease(document: Mapping[str, Any]) -> Lease:
    metadata, spec = _table(document.get("metadata")), _table(document.get("spec"))
    try:
        return Lease(
            holder=spec.get("holderIdentity") or "",
            process=_table(metadata.get("annotations")).get(PROCESS, ""),
            duration=spec.get("leaseDurationSeconds"),
            acquired=_moment(spec.get("acquireTime")),
            renewed=_moment(spec.get("renewTime")),
            transitions=spec.get("leaseTransitions") or 0,
            version=metadata["resourceVersion"],
            document=document,
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise LeaseUnavailable(f"the API server's answer is no Lease ({exc!r})") from exc


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _micro_time(moment: datetime | None) -> str | None:
    """As Kubernetes' MicroTime."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(retry_after: str | None) -> float:
    """Retry-After as the API server gives it: whole seconds."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
