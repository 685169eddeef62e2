"""One running control plane: etcd, kube-apiserver with RBAC on, and the controllers that a test asks for."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from .build import programs
from .certificates import make_certificates

_START_SECONDS = 120.0
_PAUSE_SECONDS = 0.1


class ControlPlane:
    """A control plane inside the with block, on ports of loopback that stay the same over a restart.

    There is no kubelet and no scheduler: whatever they would do, a test does.
    """

    def __init__(self, folder: Path, *, controllers: Sequence[str] = ()) -> None:
        self.folder = folder
        self._controllers = controllers
        self._programs = programs()
        etcd = shutil.which("etcd")
        assert etcd is not None, "there is no etcd: install Debian's etcd-server"
        self._etcd = etcd
        self._port, self._etcd_port, self._peer_port, self._controller_port = _free_ports(4)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def server(self) -> str:
        """The URL of the API."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def authority(self) -> Path:
        """What the API server's certificate is signed by."""
        return self.folder / "ca.crt"

    def __enter__(self) -> Self:
        make_certificates(self.folder)
        try:
            self._start_etcd()
            self.start_api()
            if self._controllers:
                self._start_controllers()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def admin(self) -> httpx.Client:
        """A client that may do everything, as the certificates of the cluster's administrator."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self.folder / "admin.crt", self.folder / "admin.key")
        return httpx.Client(base_url=self.server, verify=context, timeout=30.0, trust_env=False)

    def start_api(self) -> None:
        """Start the API server and wait until it is ready."""
        self._start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self._port}",
            # Nobody looks for the API server by its service, and an address of loopback is refused there.
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            f"--client-ca-file={self.authority}",
            f"--tls-cert-file={self.folder / 'server.crt'}",
            f"--tls-private-key-file={self.folder / 'server.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={self.folder / 'accounts.key'}",
            # Pods of the tests ask for no service account of the cluster.
            "--disable-admission-plugins=ServiceAccount",
        )
        with self.admin() as admin:
            self._wait("kube-apiserver", lambda: admin.get("/readyz").is_success)

    def kill_api(self) -> None:
        """End the API server at once; what is stored stays."""
        process = self._running.pop("kube-apiserver")
        process.kill()
        process.wait()

    def freeze_api(self) -> None:
        """Let the API server answer nothing, with its connections open."""
        self._running["kube-apiserver"].send_signal(signal.SIGSTOP)

    def thaw_api(self) -> None:
        """Let it go on."""
        self._running["kube-apiserver"].send_signal(signal.SIGCONT)

    def log(self, program: str) -> str:
        """The end of what a program wrote."""
        return (self.folder / f"{program}.log").read_text(errors="replace")[-4000:]

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._peer_port))
        self._start(
            self._etcd,
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # The data lives as long as the test.
            "--unsafe-no-fsync",
        )
        self._wait("etcd", lambda: httpx.get(f"{client}/health", trust_env=False).is_success)

    def _start_controllers(self) -> None:
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={self.admin_kubeconfig()}",
            f"--controllers={','.join(self._controllers)}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._controller_port}",
            f"--cert-dir={self.folder / 'controllers'}",
        )
        self._wait("kube-controller-manager", lambda: _listens(self._controller_port))

    def admin_kubeconfig(self) -> Path:
        """A kubeconfig of the cluster's administrator."""
        path = self.folder / "admin.kubeconfig"
        path.write_text(
            f"""\
apiVersion: v1
kind: Config
current-context: admin
clusters:
- name: test
  cluster: {{server: "{self.server}", certificate-authority: ca.crt}}
users:
- name: admin
  user: {{client-certificate: admin.crt, client-key: admin.key}}
contexts:
- name: admin
  context: {{cluster: test, user: admin}}
"""
        )
        return path

    def _start(self, program: str, *arguments: str) -> None:
        command = program if Path(program).is_absolute() else str(self._programs / program)
        name = Path(program).name
        assert name not in self._running
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [command, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def _wait(self, program: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not _true(ready):
            assert self._running[program].poll() is None, self.log(program)
            assert time.monotonic() < deadline, self.log(program)
            time.sleep(_PAUSE_SECONDS)

    def _end(self) -> None:
        for process in reversed(self._running.values()):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self._running.clear()


def _true(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except httpx.HTTPError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports
