"""One election between klag-trio and client-go, whose rules it keeps: that of kube-controller-manager."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.broker.waiting import wait_until
from tests.kubernetes.accounts import Namespace, good
from tests.kubernetes.conftest import MakeReplica
from tests.kubernetes.replica import free_port

from stack.kubernetes import programs

if TYPE_CHECKING:
    from collections.abc import Iterator

DURATION = 6


@contextmanager
def client_go(namespace: Namespace, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A kube-controller-manager that does nothing but run for election over the Lease."""
    plane = namespace.plane
    with (folder / "client-go.log").open("ab") as log:
        process = subprocess.Popen(
            [
                str(programs() / "kube-controller-manager"),
                *[f"--kubeconfig={plane.admin_kubeconfig()}", "--controllers=ttl-controller"],
                *[
                    "--bind-address=127.0.0.1",
                    f"--secure-port={free_port()}",
                    f"--cert-dir={folder / 'cert'}",
                ],
                *["--leader-elect", f"--leader-elect-lease-duration={DURATION}s"],
                *["--leader-elect-renew-deadline=4s", "--leader-elect-retry-period=1s"],
                f"--leader-elect-resource-namespace={namespace.name}",
                f"--leader-elect-resource-name={namespace.lease}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(200)
def test_it_and_client_go_hand_one_lease_to_each_other(
    namespace: Namespace, replica: MakeReplica, tmp_path: Path
) -> None:
    one = replica("one", duration=DURATION, grace=2)

    def transitions() -> int:
        return int(
            good(namespace.admin.get(f"{namespace.leases}/{namespace.lease}"))["spec"]["leaseTransitions"]
        )

    with client_go(namespace, tmp_path) as process:
        holder = wait_until(namespace.holder, "client-go leads")
        one.start()
        wait_until(lambda: one.get("/ready") == (503, f"standing by: {holder} leads"), "klag-trio stands by")
        process.kill()
        wait_until(one.leads, "klag-trio takes over", DURATION + 10)
    assert 1 == transitions()
    with client_go(namespace, tmp_path) as process:
        wait_until(
            lambda: "attempting to acquire leader lease" in _log(tmp_path, 2).lower(), "client-go tries"
        )
        assert one.leads()
        assert "one" == namespace.holder()
        one.process.terminate()  # type: ignore[union-attr]
        # What was given back is taken at client-go's next look.
        wait_until(lambda: namespace.holder() not in ("", "one"), "client-go takes over", DURATION)
        assert 0 == one.wait()
    assert 2 == transitions()


def _log(folder: Path, start: int) -> str:
    """What client-go wrote since its n-th start."""
    text = (folder / "client-go.log").read_text()
    return text.split("Serving securely", start)[-1] if text.count("Serving securely") >= start else ""
