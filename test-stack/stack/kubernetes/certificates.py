"""The certificates and keys of a control plane on loopback, made by OpenSSL."""

from __future__ import annotations

import subprocess
from pathlib import Path

_DAYS = "7"


def make_certificates(folder: Path) -> None:
    """Make ca, server, admin and accounts, each with its .crt or .pub and its .key."""
    _openssl(folder, *_request("ca", "/CN=klag-trio test CA"), "-x509", "-days", _DAYS)
    _sign(folder, "server", "/CN=kube-apiserver", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    # This group may do everything in any cluster.
    _sign(folder, "admin", "/CN=admin/O=system:masters", "extendedKeyUsage=clientAuth")
    _openssl(folder, "genrsa", "-out", "accounts.key", "2048")
    _openssl(folder, "rsa", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")


def _request(name: str, subject: str) -> list[str]:
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key"]
    return ["req", *key, "-subj", subject, "-out", f"{name}.crt"]


def _sign(folder: Path, name: str, subject: str, extension: str) -> None:
    _openssl(
        folder,
        *_request(name, subject),
        *["-x509", "-days", _DAYS, "-CA", "ca.crt", "-CAkey", "ca.key"],
        *["-addext", extension, "-addext", "basicConstraints=critical,CA:FALSE"],
    )


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
