"""`web.config`: what the chart takes is what klag-trio takes for a web config file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from tests.helm.test_configuration import keys
from tests.helm.test_values import SCHEMA, validator

from klag_trio.config import ConfigError
from klag_trio.config.load import structure
from klag_trio.config.web import WebConfig, load_web_config
from klag_trio.config.yaml_nodes import parse_yaml
from stack.chart.rendering import RefusedError, template

KEYS = [*keys(WebConfig)]
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
HASH = "EixZaYVK1fsbw1ZfbX3OXePaWxn96p36WQoeG6Lruj3vjPGga31lW"
# What one of the keys takes, or none does.
CANDIDATES: list[Any] = [
    *(True, False, "", " ", "true", "server.crt", "two\nlines", "x" * 1024, "x" * 1025, PEM, [PEM]),
    *("TLS10", "TLS12", "TLS13", "tls13", ["TLS13"], "NoClientCert", "RequestClientCert"),
    *("VerifyClientCertIfGiven", "RequireAndVerifyClientCert", "requireandverifyclientcert"),
    *([], [""], ["a.example"], ["X25519"], ["CurveP384"], ["X25519", "CurveP256"], ["P-256"]),
    *(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"], ["TLS_RSA_WITH_RC4_128_SHA"]),
    *({}, {"X-Frame-Options": "DENY"}, {"X-Frame-Options": ""}, {"X-Frame-Options": "ALLOWALL"}),
    *({"X-Content-Type-Options": "NoSniff"}, {"x-frame-options": "deny"}, {"X-Powered-By": "klag"}),
    *({"Content-Security-Policy": "default-src 'self'"}, {"Content-Security-Policy": "a\nb"}),
    *({"X-Frame-Options": True}, {"X-Frame-Options": ["deny"]}),
    *({"me": f"$2{kind}$10${HASH}"} for kind in "abxy"),
    *({"me": f"$2y${cost}${HASH}"} for cost in ("03", "04", "18", "19", "31", "4")),
    *({"me": f"$2y$10${HASH}x"}, {"me": f"$2y$10${HASH[:21]}Z{HASH[22:]}"}, {"me": "a password"}, {"me": 1}),
    *({name: f"$2y$10${HASH}"} for name in ("", "a:b", "a b", "a\tb", "\x7f", "a\xa0b", "\xfc", "\u4f60")),
]


def values_with(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    built: dict[str, Any] = value
    return built


def _loads(config: dict[str, Any]) -> bool:
    try:
        structure(parse_yaml(yaml.safe_dump(config, allow_unicode=True)), WebConfig)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("path", [path for path, _ in KEYS])
def test_the_schema_takes_a_value_where_klag_trio_does(path: str) -> None:
    configs = [values_with(path, candidate) for candidate in CANDIDATES]
    taken = [config for config in configs if _loads(config)]
    assert taken == [config for config in configs if validator().is_valid({"web": {"config": config}})]
    assert bool(taken) == (path != "rate_limit")


def test_the_schema_has_the_keys_that_klag_trio_has() -> None:
    schema = SCHEMA["properties"]["web"]["properties"]["config"]
    tables = {field.name: field.type for field in attrs.fields(attrs.resolve_types(WebConfig))}
    # Which is there only to be refused.
    del tables["rate_limit"]
    assert tables.keys() == schema["properties"].keys()
    for name in ("tls_server_config", "http_server_config"):
        kind: Any = tables[name]
        assert list(attrs.fields_dict(kind)) == list(schema["properties"][name]["properties"])


SERVER = {"cert_file": "server.crt", "key_file": "server.key"}
ASKS = {"client_ca_file": "ca.crt", "client_auth_type": "RequireAndVerifyClientCert"}


@pytest.mark.parametrize(
    "tls",
    [
        {**SERVER, "cert": PEM},
        {**SERVER, "key": PEM},
        {**SERVER, **ASKS, "client_ca": PEM},
        {"cert_file": "server.crt"},
        {"key": PEM},
        {"client_auth_type": "NoClientCert"},
        {**SERVER, "client_auth_type": "VerifyClientCertIfGiven"},
        {**SERVER, "client_ca_file": "ca.crt"},
        {**SERVER, "client_ca": PEM, "client_auth_type": "NoClientCert"},
        {**SERVER, "client_allowed_sans": ["a.example"]},
        {**SERVER, **ASKS, "client_auth_type": "VerifyClientCertIfGiven", "client_allowed_sans": ["a"]},
        {"min_version": "TLS13", "max_version": "TLS12"},
    ],
)
def test_keys_that_contradict_each_other_are_refused_with_the_path_that_klag_trio_names(
    tls: dict[str, Any],
) -> None:
    config = {"tls_server_config": tls}
    with pytest.raises(ConfigError) as expected:
        load_web_config(yaml.safe_dump(config), Path("/"))
    with pytest.raises(RefusedError) as refused:
        template({"bootstrapServers": "k:1", "web": {"config": config}})
    # Helm is told of the first one.
    first = expected.value.problems[0]
    assert f"web.config.{first.path}: {first.message}" in str(refused.value)


@pytest.mark.parametrize(
    "tls",
    [
        {},
        {"min_version": "TLS13"},
        SERVER,
        {"cert": PEM, "key": PEM, "client_ca": PEM, "client_auth_type": "VerifyClientCertIfGiven"},
        {**SERVER, **ASKS, "client_allowed_sans": ["a.example"], "max_version": "TLS13"},
    ],
)
def test_it_is_scraped_over_tls_where_klag_trio_speaks_it(tls: dict[str, Any]) -> None:
    config = {"tls_server_config": tls}
    values = {"bootstrapServers": "k:1", "web": {"config": config}, "serviceMonitor": {"enabled": True}}
    release = template(values)
    loaded = load_web_config(release.the("Secret")["stringData"]["web.yml"], Path("/"))
    (endpoint,) = release.the("ServiceMonitor")["spec"]["endpoints"]
    assert loaded.tls_server_config.enabled == (endpoint.get("scheme") == "https")
