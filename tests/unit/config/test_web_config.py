from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from klag_trio.config import ConfigError
from klag_trio.config.web import CIPHER_SUITES, CURVES, WebConfig, load_web_config

HASH = "$2y$10$" + "A" * 21 + "." + "B" * 31
TLS = "tls_server_config: {cert_file: a, key_file: b"


def load(text: str) -> WebConfig:
    return load_web_config(text, Path("/etc/klag"))


def said(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    "text", ["", "# nothing", "---\n", "~", "tls_server_config:\n", "basic_auth_users: {}"]
)
def test_a_file_without_anything_in_it_asks_for_nothing(text: str) -> None:
    config = load(text)
    assert WebConfig() == config
    assert not config.tls_server_config.enabled


def test_every_key_is_read() -> None:
    config = load(
        f"""
        tls_server_config:
          cert_file: tls.crt
          key_file: /elsewhere/tls.key
          client_ca_file: ../ca.pem
          client_auth_type: RequireAndVerifyClientCert
          client_allowed_sans: [scraper.example, 10.0.0.1]
          min_version: TLS13
          max_version: TLS13
          cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
          prefer_server_cipher_suites: no
          curve_preferences: [X25519]
        http_server_config:
          http2: false
          headers: {{Strict-Transport-Security: max-age=1, X-XSS-Protection: ""}}
        basic_auth_users:
          ann: {HASH}
          123: '{HASH}'
        """
    )
    tls = config.tls_server_config
    assert ("/etc/klag/tls.crt", "/elsewhere/tls.key", "/etc/klag/../ca.pem") == (
        tls.cert_file,
        tls.key_file,
        tls.client_ca_file,
    )
    assert ("scraper.example", "10.0.0.1") == tls.client_allowed_sans
    assert ("TLS13", "TLS13", False) == (tls.min_version, tls.max_version, tls.prefer_server_cipher_suites)
    assert {"Strict-Transport-Security": "max-age=1"} == config.http_server_config.headers
    assert {"ann": HASH, "123": HASH} == config.basic_auth_users


@pytest.mark.parametrize("kind", ["RequestClientCert", "RequireAnyClientCert", "RequireClientCert", "no"])
def test_a_kind_of_client_certificate_that_is_not_verified_is_refused(kind: str) -> None:
    (found,) = said(f"{TLS}, client_auth_type: '{kind}'}}")
    assert found.startswith(
        'tls_server_config.client_auth_type: expected "NoClientCert" or "VerifyClientCertIfGiven" or '
        '"RequireAndVerifyClientCert"'
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tls_server_config.key_file: is required", "tls_server_config: {cert_file: a}"),
        ("tls_server_config.cert_file: is required", "tls_server_config: {key_file: a}"),
        ("tls_server_config.client_ca_file: is", f"{TLS}, client_auth_type: VerifyClientCertIfGiven}}"),
        ("tls_server_config.client_auth_type: expected", f"{TLS}, client_ca_file: c}}"),
        ("tls_server_config.client_allowed_sans: needs", f"{TLS}, client_allowed_sans: [a]}}"),
        (
            "tls_server_config.min_version: expected no newer",
            f"{TLS}, min_version: TLS13, max_version: TLS12}}",
        ),
        ("tls_server_config.min_version: expected", f"{TLS}, min_version: TLS11}}"),
        (
            "tls_server_config.cipher_suites[1]: expected",
            f"{TLS}, cipher_suites: [TLS_AES_128_GCM_SHA256, x]}}",
        ),
        ("tls_server_config.cipher_suites: expected", f"{TLS}, cipher_suites: x}}"),
        (
            "tls_server_config.curve_preferences: expected one",
            f"{TLS}, curve_preferences: [X25519, CurveP256]}}",
        ),
        ("tls_server_config.curve_preferences[0]: expected", f"{TLS}, curve_preferences: [P256]}}"),
        ("tls_server_config.cert: expected this or cert_file", f"{TLS}, cert: '-----BEGIN X'}}"),
        ("tls_server_config.key: expected PEM", "tls_server_config: {cert_file: a, key: b}"),
        ("tls_server_config.key: expected PEM", "tls_server_config: {cert_file: a, key: [b]}"),
        (
            "tls_server_config.cert_fil: unknown key (did you mean cert_file?)",
            "tls_server_config: {cert_fil: a}",
        ),
        ("tls_server_config: expected a table", "tls_server_config: a"),
        ("http_server_config.http2: expected true or false", "http_server_config: {http2: 'on'}"),
        ("http_server_config.headers.Server: unknown header", "http_server_config: {headers: {Server: x}}"),
        (
            "http_server_config.headers.X-Frame-Options: expected",
            "http_server_config: {headers: {X-Frame-Options: x}}",
        ),
        (
            "http_server_config.headers.Content-Security-Policy: expected",
            'http_server_config: {headers: {Content-Security-Policy: "a\\r\\nb"}}',
        ),
        ("http_server_config.headers: expected a table", "http_server_config: {headers: [a]}"),
        ("rate_limit: is not supported", "rate_limit: {burst: 1}"),
        ("basic_auth_users.ann: expected a bcrypt hash", "basic_auth_users: {ann: secret}"),
        (
            "basic_auth_users.ann: expected a bcrypt hash",
            f"basic_auth_users: {{ann: {HASH.replace('10', '31')}}}",
        ),
        ("basic_auth_users.ann: expected a bcrypt hash", f"basic_auth_users: {{ann: {HASH[:-1]}}}"),
        ("basic_auth_users.ann: expected a bcrypt hash", f"basic_auth_users: {{ann: [{HASH}]}}"),
        ('basic_auth_users."a:b": expected a user name', f"basic_auth_users: {{'a:b': {HASH}}}"),
        ("basic_auth_users: expected a table", f"basic_auth_users: [{HASH}]"),
        (
            "basic_auth_users.a: is given twice, again at line 2, column 3",
            "basic_auth_users: {a: x,\n  a: y}",
        ),
        ("line 1, column 4: the file is not valid YAML", "a: *b"),
        ("line 1, column 4: the file is not valid YAML: an alias stands for what", "a: &b [*b]"),
        ("line 1, column 1: the file is not valid YAML: a key is no text", "[a]: b"),
        ("the file is not valid YAML: expected keys with values at the top", "- a"),
        ("the file is not valid YAML: expected keys with values at the top", "hello"),
        ("the file is not valid YAML: it is nested too deeply", "a: " + "[" * 4_000),
        pytest.param(
            "the file is not valid YAML: the file is larger than 65536 characters",
            "#" * 2**17 + "#",
            id="too large",
        ),
        ("the file is not valid YAML: it holds a character", "a: \x01"),
        (
            "tls_server_config.cert_file: tags are not supported",
            "tls_server_config: {cert_file: !x a, key_file: b}",
        ),
        (
            "tls_server_config.cert_file: tags are not",
            "tls_server_config: {cert_file: !!binary YQ==, key_file: b}",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key(path: str, text: str) -> None:
    assert [line for line in said(text) if line.startswith(path)]


def test_all_mistakes_are_told_at_once() -> None:
    found = said(
        "tls_server_config: {min_version: x, client_auth_type: y}\nbasic_auth_users: {a: b, c: d}\ne: f"
    )
    assert {
        "tls_server_config.min_version",
        "tls_server_config.client_auth_type",
        "basic_auth_users.a",
        "basic_auth_users.c",
        "e",
    } == {line.partition(":")[0] for line in found}


@pytest.mark.parametrize(
    "text",
    [
        "basic_auth_users: {ann: hunter2}",
        "basic_auth_users: {ann: [hunter2]}",
        "basic_auth_users: hunter2",
        "basic_auth_users: [hunter2]",
        "basic_auth_users: {ann: *hunter2}",
        "basic_auth_users: {ann: !hunter2 x}",
        "basic_auth_users: {ann: 'hunter2}",
        "basic_auth_users:\n  ann: hunter2\n bob: x",
        "basic_auth_users: {ann: &hunter2 a, bob: &hunter2 b, eve: %hunter2}",
        "basic_auth_users: {ann: @hunter2}",
        "basic_auth_users:\n  ann: hunter2: hunter2",
        "tls_server_config: {cert_file: a, key: hunter2}",
        "tls_server_config: {cert_file: a, key: {hunter2: hunter2}}",
        "tls_server_config: {cert_file: a, key_file: '-----BEGIN PRIVATE KEY----- hunter2'}",
        'tls_server_config: {cert_file: a, key_file: "hunter2\\n"}',
        "%hunter2 x\n---\na",
        "!hunter2!x a",
    ],
)
def test_a_secret_is_in_no_message(text: str) -> None:
    assert "hunter2" not in "\n".join(said(text))


def test_a_secret_is_in_no_repr() -> None:
    pem = "-----BEGIN hunter2"
    config = load(f"tls_server_config: {{cert: '{pem}', key: '{pem}'}}\nbasic_auth_users: {{ann: {HASH}}}")
    assert pem == config.tls_server_config.key
    assert "hunter2" not in repr(config)
    assert HASH not in repr(config)


def test_many_aliases_of_aliases_take_no_time() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 100))]
    assert 100 == len(said("\n".join(lines)))


def test_the_names_are_gos_and_are_known_to_openssl() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name in filter(None, CIPHER_SUITES.values()):
        context.set_ciphers(name)
        assert name in {cipher["name"] for cipher in context.get_ciphers()}
    for curve in CURVES.values():
        context.set_ecdh_curve(curve)
