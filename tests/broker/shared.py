"""The broker that most tests share: one listener for every way to log in, and an authorizer behind them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import attrs
from tests.broker.identity import AUDIENCE, IdentityProvider, identity_provider
from tests.certificates import Authority, TokenKey

from stack.kafka import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

USER = "lag-reader"
"""May do everything, whichever way they come in."""
PASSWORD = "rosebud-1941"
KEY_PASSWORD = "heffalump-1926"
CLIENT_SECRET = "jabberwock-1871"
SECRETS = (PASSWORD, KEY_PASSWORD, CLIENT_SECRET)
READERS = {f"reader{number}": f"open-sesame-{number}" for number in range(64)}
"""Who may do what a test allows them, by the listener LOGIN, and their passwords."""
# So long a connection lives that logged in with a token or a password before it has to log in again.
REAUTHENTICATE_SECONDS = 3

_SECURITY = "org.apache.kafka.common.security"
_LISTENERS = {
    "LOGIN": "SASL_PLAINTEXT",
    "PASSWORD": "SASL_PLAINTEXT",
    "OIDC": "SASL_PLAINTEXT",
    "SECURE": "SASL_SSL",
    **dict.fromkeys(("TLS", "MUTUAL", "EXPIRED", "ELSEWHERE"), "SSL"),
}


@attrs.frozen
class SharedKafka:
    """Where the broker is, who vouches for whom, and the properties of a client; any process may use it.

    Whoever comes in by the plain listener may do everything, too.
    """

    addresses: Mapping[str, str]
    """By listener, as bootstrap.servers takes them."""
    log_file: Path
    authority: Authority
    stranger: Authority
    """An authority that the broker does not know."""
    identity: IdentityProvider

    @property
    def bootstrap_servers(self) -> str:
        return self.bootstrap("PLAINTEXT")

    def bootstrap(self, listener: str) -> str:
        return self.addresses[listener]

    def sasl(self, mechanism: str, password: str = PASSWORD, user: str = USER) -> dict[str, str]:
        """Name and password, unencrypted."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": password,
        }

    def oidc(self, token_url: str, secret: str = CLIENT_SECRET) -> dict[str, str]:
        """A token of the identity provider."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": USER,
            "sasl.oauthbearer.client.secret": secret,
            "sasl.oauthbearer.token.endpoint.url": token_url,
        }

    def unsecured(self, config: str) -> dict[str, str]:
        """A token that librdkafka makes itself, and that nobody signs."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
            "enable.sasl.oauthbearer.unsecure.jwt": "true",
            "sasl.oauthbearer.config": config,
        }

    @property
    def tls(self) -> dict[str, str]:
        return {"security.protocol": "SSL", "ssl.ca.location": str(self.authority.certificate)}

    @property
    def mutual_tls(self) -> dict[str, str]:
        issued = self.authority.issue("client", password=KEY_PASSWORD)
        return {
            **self.tls,
            "ssl.certificate.location": str(issued.certificate),
            "ssl.key.location": str(issued.key),
            "ssl.key.password": KEY_PASSWORD,
        }


@contextmanager
def shared_kafka(folder: Path) -> Iterator[SharedKafka]:
    """Start the broker; what it needs is made in this folder."""
    authority, stranger = Authority(folder / "authority"), Authority(folder / "stranger")
    folder.joinpath("tokens").mkdir()
    key = TokenKey(folder / "tokens")
    with ExitStack() as stack:
        identity = stack.enter_context(identity_provider(key, {USER: CLIENT_SECRET}))
        scram = f"[name={USER},password={PASSWORD}]"
        cluster = stack.enter_context(
            KafkaCluster(
                properties={
                    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                    "super.users": f"User:ANONYMOUS;User:{USER};User:CN=client",
                    **_mechanisms(identity),
                    **_certificates(authority),
                },
                listeners=_LISTENERS,
                format_arguments=[
                    part for bits in (256, 512) for part in ("--add-scram", f"SCRAM-SHA-{bits}={scram}")
                ],
                jvm_arguments=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={identity.url}/jwks"],
            )
        )
        addresses = {name: cluster.bootstrap(name) for name in ("PLAINTEXT", *_LISTENERS)}
        yield SharedKafka(addresses, cluster.nodes[0].log_file, authority, stranger, identity)


def _certificates(authority: Authority) -> Mapping[str, str]:
    certificates = {
        "TLS": authority.issue("broker"),
        "MUTUAL": authority.issue("broker-mutual"),
        "SECURE": authority.issue("broker-secure"),
        "EXPIRED": authority.issue("broker-expired", days=-1),
        "ELSEWHERE": authority.issue("broker-elsewhere", san="DNS:elsewhere.example"),
    }
    properties = {}
    for name, issued in certificates.items():
        listener = f"listener.name.{name.lower()}"
        properties[f"{listener}.ssl.keystore.type"] = "PEM"
        properties[f"{listener}.ssl.keystore.location"] = str(issued.pair)
    properties["listener.name.mutual.ssl.client.auth"] = "required"
    properties["listener.name.mutual.ssl.truststore.type"] = "PEM"
    properties["listener.name.mutual.ssl.truststore.location"] = str(authority.certificate)
    return properties


def _mechanisms(identity: IdentityProvider) -> Mapping[str, str]:
    def plain_login(users: Mapping[str, str]) -> str:
        known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
        return f"{_SECURITY}.plain.PlainLoginModule required {known};"

    scram = f"{_SECURITY}.scram.ScramLoginModule required;"
    bearer = (
        f'{_SECURITY}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
    )
    login, secure, password, oidc = (
        f"listener.name.{name}" for name in ("login", "secure", "password", "oidc")
    )
    found = {
        f"{login}.sasl.enabled.mechanisms": "PLAIN",
        f"{login}.plain.sasl.jaas.config": plain_login(READERS),
        f"{password}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        f"{password}.plain.sasl.jaas.config": plain_login({USER: PASSWORD}),
        f"{password}.scram-sha-256.sasl.jaas.config": scram,
        f"{password}.scram-sha-512.sasl.jaas.config": scram,
        f"{password}.oauthbearer.sasl.jaas.config": bearer,
        f"{secure}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        f"{secure}.scram-sha-512.sasl.jaas.config": scram,
        f"{oidc}.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{oidc}.oauthbearer.sasl.jaas.config": bearer,
        f"{oidc}.oauthbearer.sasl.server.callback.handler.class": (
            f"{_SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        f"{oidc}.sasl.oauthbearer.jwks.endpoint.url": f"{identity.url}/jwks",
        f"{oidc}.sasl.oauthbearer.expected.audience": AUDIENCE,
    }
    limited = {
        password: ("plain", "scram-sha-256", "scram-sha-512", "oauthbearer"),
        secure: ("scram-sha-512",),
        oidc: ("oauthbearer",),
    }
    for listener, mechanisms in limited.items():
        for mechanism in mechanisms:
            found[f"{listener}.{mechanism}.connections.max.reauth.ms"] = str(REAUTHENTICATE_SECONDS * 1000)
    return found
