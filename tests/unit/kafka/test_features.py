from __future__ import annotations

import pytest

from klag_trio.kafka.features import built_in, missing_kerberos

WHEEL = {"sasl", "ssl", "sasl_plain", "sasl_scram"}
KERBEROS = {"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}


def test_librdkafka_tells_what_it_was_built_with() -> None:
    assert {"ssl", "sasl_scram", "sasl_oauthbearer", "oidc"} <= built_in()


@pytest.mark.parametrize(
    "properties",
    [
        KERBEROS,
        {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "GSSAPI"},
        {"security.protocol": "sasl_ssl"},
    ],
)
def test_who_asks_for_kerberos_is_told_that_it_is_missing(properties: dict[str, str]) -> None:
    said = missing_kerberos(properties, WHEEL)
    assert said is not None
    assert "docs/authentication.md" in said
    assert missing_kerberos(properties, {*WHEEL, "sasl_gssapi"}) is None


@pytest.mark.parametrize(
    "properties",
    [{}, {"security.protocol": "ssl", "sasl.mechanism": "GSSAPI"}, {**KERBEROS, "sasl.mechanism": "PLAIN"}],
)
def test_nobody_else_is(properties: dict[str, str]) -> None:
    assert missing_kerberos(properties, WHEEL) is None
