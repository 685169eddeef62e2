"""Where the Kubernetes API server is, and how to prove who we are: a service account, or a kubeconfig."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from klag_trio.files import FileError, read_file

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts it in a pod."""


_TOKEN = re.compile(r"[\x21-\x7e]+")


class AccessError(Exception):
    """There is no way to the API server, or the way is described wrongly; the message says what to mend."""


@attrs.frozen
class Access:
    """How to reach an API server. What it reads from files is read again at each use: all of it rotates."""

    server: str
    """Its URL."""
    origin: str
    """Where this is from, for people."""
    tls: Callable[[], ssl.SSLContext] = attrs.field(repr=False)
    """For a new connection; raises AccessError."""
    token: Callable[[], str | None] = attrs.field(repr=False)
    """For a request; None where a certificate says who we are. Raises AccessError."""
    server_name: str | None = None
    """What its certificate is made out to, where that is not the name in the URL."""


def find_access(
    environ: Mapping[str, str], *, service_account: Path = SERVICE_ACCOUNT, home: Path | None = None
) -> Access:
    """The kubeconfig that KUBECONFIG names, else the pod's service account, else `~/.kube/config`.

    Raises:
        AccessError: there is none of them, or the one that counts is not usable.

    """
    # Only here, because it builds on this module.
    if environ.get("KUBECONFIG"):
        from klag_trio.kubernetes.kubeconfig import read_kubeconfig

        return read_kubeconfig([Path(path) for path in environ["KUBECONFIG"].split(":") if path])
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if host and (service_account / "token").exists():
        return _in_cluster(host, port, service_account)
    if (kept := _kept_config(home)) is not None:
        from klag_trio.kubernetes.kubeconfig import read_kubeconfig

        return read_kubeconfig([kept])
    raise AccessError(
        "leader election needs the Kubernetes API, and there is no way to it: no service account at "
        f"{service_account} (with KUBERNETES_SERVICE_HOST), no KUBECONFIG and no "
        f"{'~' if home is None else home}/.kube/config"
    )


def _kept_config(home: Path | None) -> Path | None:
    """The kubeconfig in the home folder, where there are both."""
    try:
        kept = (Path.home() if home is None else home) / ".kube" / "config"
        return kept if kept.is_file() else None
    except (OSError, RuntimeError):
        # A home that may not be entered, or a user that the machine does not know: as good as none.
        return None


def _in_cluster(host: str, port: str, folder: Path) -> Access:
    authority = f"[{host}]" if ":" in host else host
    access = Access(
        server=f"https://{authority}:{port}",
        origin=f"service account at {folder}",
        tls=lambda: tls_context(authorities=file_text(folder / "ca.crt")),
        token=lambda: bearer(file_text(folder / "token"), f"{folder / 'token'}"),
    )
    check(access)
    return access


def check(access: Access) -> None:
    """Read once all that is read at each use, so that what is wrong is said at the start."""
    access.tls()
    access.token()


def file_text(path: Path) -> str:
    """What a file holds; one that cannot be read is an AccessError."""
    try:
        return read_file(path).decode("ascii")
    except FileError as exc:
        raise AccessError(f"{path}: cannot be read: {exc}") from exc
    except UnicodeDecodeError:
        raise AccessError(f"{path}: is not plain text") from None


def bearer(text: str, where: str) -> str:
    """A token fit for a header, without the white space around it; one that is not is an AccessError."""
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise AccessError(f"{where}: is no token: expected one word of printable ASCII")
    return token


def tls_context(*, authorities: str | None, verify: bool = True) -> ssl.SSLContext:
    """What to trust: the authorities in PEM, or those of the machine; nothing is checked without `verify`."""
    try:
        context = ssl.create_default_context(cadata=authorities)
    except (ssl.SSLError, ValueError):
        raise AccessError("the certificate of the API server's authority is no certificate in PEM") from None
    # Python 3.13 turned it on; the authorities of many clusters lack the extension that it asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
