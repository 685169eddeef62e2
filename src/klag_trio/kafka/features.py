"""What the librdkafka that is loaded was built without: said clearly, before it is asked to do it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ctypes import byref, c_size_t, create_string_buffer

from confluent_kafka import cimpl

from klag_trio.kafka.librdkafka import load

_SIZE = 1024
_SASL = ("sasl_plaintext", "sasl_ssl")
_NO_KERBEROS = (
    "sasl.mechanism is GSSAPI{default}, and this librdkafka was built without Kerberos, as the wheels of "
    "confluent-kafka on PyPI are: use klag-trio's image with Kerberos, or a confluent-kafka that "
    "scripts/build-kerberos built (docs/authentication.md)"
)


def built_in() -> frozenset[str]:
    """The features of the librdkafka that confluent_kafka has loaded: `ssl`, `sasl_scram`, `sasl_gssapi`."""
    library = load(cimpl.__file__)
    value, size = create_string_buffer(_SIZE), c_size_t(_SIZE)
    configuration = library.rd_kafka_conf_new()
    try:
        library.rd_kafka_conf_get(configuration, b"builtin.features", value, byref(size))
    finally:
        library.rd_kafka_conf_destroy(configuration)
    return frozenset(value.value.decode().split(","))


def missing_kerberos(properties: Mapping[str, str], features: Collection[str]) -> str | None:
    """Say what to do where these properties ask for Kerberos and librdkafka has none."""
    if "sasl_gssapi" in features or properties.get("security.protocol", "").lower() not in _SASL:
        return None
    given = properties.get("sasl.mechanism", properties.get("sasl.mechanisms"))
    if given not in (None, "GSSAPI"):
        return None
    return _NO_KERBEROS.format(default="" if given else " where it is not set")
