"""Keys, certificates and signed tokens that tests make with openssl."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def openssl(*arguments: str | Path, stdin: bytes | None = None) -> bytes:
    return subprocess.run(
        ["openssl", *map(str, arguments)], input=stdin, check=True, capture_output=True
    ).stdout


@attrs.frozen
class Certificate:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path

    @property
    def pair(self) -> Path:
        """Both in one file, as Kafka takes them for a keystore of the type PEM."""
        path = self.certificate.with_suffix(".pair")
        path.write_bytes(self.key.read_bytes() + self.certificate.read_bytes())
        return path


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._key, self.certificate = folder / "ca.key", folder / "ca.pem"
        ours = ("-x509", "-days", "30", "-subj", f"/CN={folder.name}")
        openssl("req", *ours, *EC, "-noenc", "-keyout", self._key, "-out", self.certificate)

    def issue(
        self, name: str, *, san: str = "IP:127.0.0.1", days: int = 30, password: str | None = None
    ) -> Certificate:
        """Make a certificate for these subject alternative names; one of fewer than 0 days has expired."""
        key, request, path = (self._folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        locked = ["-passout", f"pass:{password}"] if password else ["-noenc"]
        subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={san}")
        openssl("req", "-new", *EC, *locked, *subject, "-keyout", key, "-out", request)
        signed_by = ("-CA", self.certificate, "-CAkey", self._key, "-copy_extensions", "copy")
        openssl("x509", "-req", "-in", request, *signed_by, "-days", str(days), "-out", path)
        return Certificate(path, key)


class TokenKey:
    """An RSA key that signs JSON Web Tokens (RFC 7519, RS256)."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "token.key"
        openssl("genrsa", "-out", self._path, "2048")

    def sign(self, claims: Mapping[str, object], *, lifetime: float) -> str:
        """A token with these claims, which expires in so many seconds."""
        now = int(time.time())
        parts = [
            {"alg": "RS256", "kid": "1", "typ": "JWT"},
            {"iat": now, "exp": now + int(lifetime), **claims},
        ]
        text = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
        signature = openssl("dgst", "-sha256", "-sign", self._path, stdin=text.encode())
        return f"{text}.{_base64url(signature)}"

    @property
    def key_set(self) -> str:
        """What verifies them (RFC 7517)."""
        modulus = openssl("rsa", "-in", self._path, "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "e": "AQAB"}
        return json.dumps({"keys": [{**key, "n": _base64url(bytes.fromhex(modulus))}]})


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
