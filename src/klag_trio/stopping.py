"""How long each part of a stop may take, so that the process has ended 5 s after SIGTERM whatever hangs."""

from __future__ import annotations

PROMISED_SECONDS = 5.0

WORKER_SECONDS = 0.75
"""For the process that reads a cluster to be gone once it is killed."""
CLIENT_SECONDS = 0.5
"""For the calls of a librdkafka client to end, and then the client."""
RELEASE_SECONDS = 1.0
"""For the Lease to be given back: two requests. One that is not given back runs out."""
LEASE_CONNECTION_SECONDS = 0.25
"""For the connection to the API server to be closed."""
LAST_PUSH_SECONDS = 1.5
"""For what is pushed last to reach the OpenTelemetry collector."""
ANSWERS_SECONDS = 0.5
"""For the answers over HTTP that are under way."""
LOG_SECONDS = 0.5
"""For the log lines that are queued to be written."""

STEPS = (
    # The leader's work is cancelled. A cluster ends its process, or the client that it was replacing; beside
    # that, a request to the API server is given up with its connection.
    (WORKER_SECONDS, CLIENT_SECONDS, LEASE_CONNECTION_SECONDS),
    (RELEASE_SECONDS,),
    (LEASE_CONNECTION_SECONDS,),
    # Only now: what is pushed last says that this replica does not lead.
    (LAST_PUSH_SECONDS, ANSWERS_SECONDS),
    (CLIENT_SECONDS,),
    (LOG_SECONDS,),
)
"""The steps of a stop in their order; the parts of one step run side by side."""


def longest() -> float:
    """The seconds of a stop in which every step takes as long as it may.

    What only computes, such as a report that is half done, has no limit and comes on top of it.
    """
    return sum(max(step) for step in STEPS)
