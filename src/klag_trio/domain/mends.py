"""What to do about an error that Kafka answers with, in one sentence."""

from __future__ import annotations

_MENDS = {
    "GROUP_AUTHORIZATION_FAILED": "allow DESCRIBE on the group",
    "TOPIC_AUTHORIZATION_FAILED": "allow DESCRIBE on the topic, and READ where time lag reads records",
    "CLUSTER_AUTHORIZATION_FAILED": "allow DESCRIBE on the cluster",
    "SASL_AUTHENTICATION_FAILED": "check the sasl.* entries of consumer_properties",
    "_AUTHENTICATION": "check security.protocol and the sasl.* entries of consumer_properties",
    "_RESOLVE": "check the host names in bootstrap_servers",
    "_SSL": "check the ssl.* entries of consumer_properties",
}
_STAGE_MENDS = {("policies", "TOPIC_AUTHORIZATION_FAILED"): "allow DESCRIBE_CONFIGS on the topic"}


def mend(stage: str, code: str) -> str | None:
    """What would end this error, or None where waiting is all there is."""
    return _STAGE_MENDS.get((stage, code)) or _MENDS.get(code)
