"""kubeconfig files, as kubectl reads them: one or several, of which the first that says a thing counts.

Understood: clusters with certificate authorities, users with a token, a token file or a client certificate.
Programs that fetch credentials (`exec`, `auth-provider`), user names with passwords and proxies are refused
by name: skipping one would mean to ask as somebody else.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import yaml

from klag_trio.files import FileError, load_cert_chain, read_file
from klag_trio.kubernetes.access import Access, AccessError, bearer, check, file_text, tls_context

_NOT_SUPPORTED = ("exec", "auth-provider", "username", "password", "as", "as-groups", "as-uid")


@attrs.frozen
class _Entry:
    """A named cluster, user or context."""

    keys: Mapping[str, Any] = attrs.field(repr=False)
    folder: Path
    """What relative paths in it are relative to."""
    where: str

    def text(self, key: str) -> str | None:
        value = self.keys.get(key)
        if value is not None and not isinstance(value, str):
            raise AccessError(f"{self.where}: {key}: expected a string")
        return value or None

    def path(self, key: str) -> Path | None:
        given = self.text(key)
        return None if given is None else self.folder / given

    def pem(self, key: str) -> str | None:
        """What `KEY-data` holds in base64, else what is in the file that `KEY` names."""
        data = self.text(f"{key}-data")
        if data is None:
            path = self.path(key)
            return None if path is None else file_text(path)
        try:
            return base64.b64decode(data, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            raise AccessError(f"{self.where}: {key}-data: is not base64 of a PEM file") from None


def read_kubeconfig(paths: Sequence[Path]) -> Access:
    """The way to the cluster of the current context.

    Raises:
        AccessError: a file cannot be read, or asks for what is not supported.

    """
    documents = [(path, _document(path)) for path in paths if _exists(path)]
    shown = ":".join(map(str, paths))
    if not documents:
        raise AccessError(f"kubeconfig {shown}: there is no such file")
    context_name = next((d["current-context"] for _, d in documents if d.get("current-context")), None)
    if context_name is None:
        raise AccessError(f"kubeconfig {shown}: has no current-context")
    context = _named(documents, "context", context_name)
    cluster = _named(documents, "cluster", context.text("cluster"))
    user = _named(documents, "user", context.text("user"))
    access = _access(cluster, user, origin=f"kubeconfig {shown}, context {context_name}")
    check(access)
    return access


def _access(cluster: _Entry, user: _Entry, *, origin: str) -> Access:
    server = cluster.text("server")
    if server is None or not server.startswith(("https://", "http://")):
        raise AccessError(f"{cluster.where}: server: expected a URL with https or http")
    refused = [key for key in _NOT_SUPPORTED if user.keys.get(key)]
    if refused:
        raise AccessError(
            f"{user.where}: {refused[0]}: is not supported: use a token, a tokenFile or a client certificate"
        )
    if cluster.text("proxy-url") is not None:
        raise AccessError(f"{cluster.where}: proxy-url: is not supported")

    def tls() -> ssl.SSLContext:
        verify = cluster.keys.get("insecure-skip-tls-verify") is not True
        try:
            context = tls_context(authorities=cluster.pem("certificate-authority"), verify=verify)
        except AccessError as exc:
            raise AccessError(f"{cluster.where}: {exc}") from None
        _show_certificate(context, user)
        return context

    def token() -> str | None:
        if (fixed := user.text("token")) is not None:
            return bearer(fixed, f"{user.where}: token")
        path = user.path("tokenFile")
        return None if path is None else bearer(file_text(path), f"{path}")

    return Access(server.rstrip("/"), origin, tls, token, cluster.text("tls-server-name"))


def _show_certificate(context: ssl.SSLContext, user: _Entry) -> None:
    certificate, key = user.pem("client-certificate"), user.pem("client-key")
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise AccessError(f"{user.where}: client-certificate and client-key go together")
    try:
        # Without a password it would ask for one at the terminal.
        load_cert_chain(context, certificate.encode(), key.encode(), str)
    except (ssl.SSLError, ValueError):
        raise AccessError(
            f"{user.where}: client-certificate and client-key are no pair in PEM without a password"
        ) from None
    except FileError as exc:
        raise AccessError(f"{user.where}: client-key: {exc}") from exc


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as exc:
        raise AccessError(f"kubeconfig {path}: cannot be read: {exc.strerror or exc}") from exc


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(read_file(path))
    except FileError as exc:
        raise AccessError(f"kubeconfig {path}: cannot be read: {exc}") from exc
    except (yaml.YAMLError, ValueError, RecursionError):
        # The parser's message quotes the file, and there are secrets in it.
        raise AccessError(f"kubeconfig {path}: is not YAML") from None
    if not isinstance(document, dict):
        raise AccessError(f"kubeconfig {path}: expected a table")
    return document


def _named(documents: Sequence[tuple[Path, Mapping[str, Any]]], kind: str, name: object) -> _Entry:
    """The first entry of that name, in the order of the files."""
    for path, document in documents:
        for entry in document.get(f"{kind}s") or ():
            if isinstance(entry, dict) and entry.get("name") == name and name is not None:
                where = f"kubeconfig {path}: {kind} {name}"
                if not isinstance(keys := entry.get(kind), dict):
                    raise AccessError(f"{where}: expected a table")
                return _Entry(keys, path.resolve().parent, where)
    raise AccessError(f"kubeconfig {documents[0][0]}: has no {kind} named {name}")
