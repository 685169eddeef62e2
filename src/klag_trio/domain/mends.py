"""What to do about an error that Kafka answers with, in one sentence."""

from __future__ import annotations

from klag_trio.domain.acls import permission

_MENDS = {
    "SASL_AUTHENTICATION_FAILED": "check the sasl.* entries of consumer_properties",
    "_AUTHENTICATION": "check security.protocol and the sasl.* entries of consumer_properties",
    "_CRIT_SYS_RESOURCE": (
        "raise the limit of threads and processes (ulimit -u, the container's pids limit), or watch fewer "
        "clusters in one process"
    ),
    "_RESOLVE": "check the host names in bootstrap_servers",
    "_SSL": (
        "check security.protocol and the ssl.* entries of consumer_properties, and the brokers' certificate: "
        "signed by ssl.ca.location, not expired, made out to the host in bootstrap_servers"
    ),
}

# KIP-848: the members of a group are denied because of a topic in it, which the error does not name.
_HIDDEN_TOPIC = ("members", "TOPIC_AUTHORIZATION_FAILED")


def mend(stage: str, code: str) -> str | None:
    """What would end this error, or None where waiting is all there is."""
    if (stage, code) == _HIDDEN_TOPIC:
        return "allow DESCRIBE on all topics of the group"
    if missing := permission(stage, code):
        return f"allow {missing}"
    return _MENDS.get(code)
