"""What a replica needs to take part in the election, made from the configuration and the environment."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping

import attrs
import structlog

from klag_trio.config import Leadership
from klag_trio.domain.lease import Candidate
from klag_trio.kubernetes.access import find_access
from klag_trio.kubernetes.leases import KubernetesLeases
from klag_trio.services.elector import Elector
from klag_trio.services.tenure import Tenure


@attrs.frozen
class Candidacy:
    """One replica's part in the election."""

    me: Candidate
    leases: KubernetesLeases
    tenure: Tenure

    def elector(self, lead: Callable[[], Awaitable[None]]) -> Elector:
        """What takes part, and runs `lead` while it leads."""
        return Elector(self.leases, self.me, self.tenure, lead)


def enter(leadership: Leadership, environ: Mapping[str, str]) -> Candidacy:
    """Find the Kubernetes API; nothing is asked of it yet.

    Raises:
        AccessError: there is no way to it.

    """
    access = find_access(environ)
    me = Candidate(
        identity=leadership.identity or socket.gethostname(),
        process=uuid.uuid4().hex,
        duration=leadership.lease_duration_secs,
        grace=leadership.grace_period_secs,
    )
    structlog.get_logger(__name__).info(
        "taking part in the election",
        identity=me.identity,
        lease=f"{leadership.lease_namespace}/{leadership.lease_name}",
        server=access.server,
        access=access.origin,
    )
    leases = KubernetesLeases(access, namespace=leadership.lease_namespace, name=leadership.lease_name)
    return Candidacy(me, leases, Tenure())
