"""A key distribution centre on loopback, of Debian's krb5-kdc, with a realm that lives as long as it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Self

from tests.broker.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

REALM = "KLAG.TEST"
# Debian puts the servers where only root's PATH looks.
SBIN = "/usr/sbin:/sbin"


class KeyDistributionCentre:
    """Knows principals and gives tickets within its `with` block; all of it lives in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.krb5_conf = folder / "krb5.conf"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> dict[str, str]:
        """What Kerberos programs need in their environment to ask here."""
        return {
            "KRB5_CONFIG": str(self.krb5_conf),
            "KRB5_KDC_PROFILE": str(self._folder / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self._folder / 'tickets'}",
            "PATH": f"{os.environ['PATH']}:{SBIN}",
        }

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.krb5_conf.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n"
            " dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n"
            f"[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n"
        )
        (self._folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n"
            f"[realms]\n {REALM} = {{\n  database_name = {self._folder}/principal\n"
            f"  key_stash_file = {self._folder}/stash\n  max_life = 1h\n  max_renewable_life = 2h\n }}\n"
        )
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "of-the-database")
        self._process = subprocess.Popen(
            [self._found("krb5kdc"), "-n", "-r", REALM], env={**os.environ, **self.environ}
        )

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(answers, "the key distribution centre answers")
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def principal(self, name: str) -> Path:
        """Make a principal; its key is in the file that is returned."""
        keytab = self._folder / f"{name.replace('/', '-')}.keytab"
        self._run("kadmin.local", "-r", REALM, "-q", f"addprinc -randkey {name}")
        self._run("kadmin.local", "-r", REALM, "-q", f"ktadd -k {keytab} {name}")
        assert keytab.exists()
        return keytab

    def _found(self, program: str) -> str:
        path = shutil.which(program, path=self.environ["PATH"])
        assert path is not None, f"there is no {program}"
        return path

    def _run(self, program: str, *arguments: str) -> None:
        environ = {**os.environ, **self.environ}
        subprocess.run([self._found(program), *arguments], env=environ, check=True, capture_output=True)
