"""The Lease of a real API server, with RBAC on: what the chart allows is enough, and nothing less is."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from tests.broker.waiting import wait_until
from tests.kubernetes.accounts import Namespace, good, make_namespace
from tests.kubernetes.conftest import MakeReplica, config, leadership
from tests.program.program import run

from klag_trio.domain.lease import Candidate, claim, release
from klag_trio.kubernetes.access import find_access
from klag_trio.kubernetes.leases import KubernetesLeases, LeaseConflict, LeaseUnavailable
from stack.kubernetes import ControlPlane

ME, OTHER = Candidate("pod-1", "process-1", 15, 5), Candidate("pod-2", "process-2", 15, 5)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def leases(namespace: Namespace, tmp_path: Path) -> KubernetesLeases:
    """Over the service account that a pod has."""
    (tmp_path / "token").write_text(namespace.request_token())
    (tmp_path / "ca.crt").write_text(namespace.plane.authority.read_text())
    host, port = namespace.plane.server.removeprefix("https://").split(":")
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    access = find_access(environ, service_account=tmp_path, home=tmp_path)
    return KubernetesLeases(access, namespace=namespace.name, name=namespace.lease)


async def test_a_lease_is_made_renewed_taken_and_given_back(
    leases: KubernetesLeases, namespace: Namespace
) -> None:
    assert await leases.read() is None
    made = await leases.write(claim(None, ME, now()))
    assert made == await leases.read()
    assert ME.holds(made)
    renewed = await leases.write(claim(made, ME, now()))
    taken = await leases.write(claim(renewed, OTHER, now()))
    assert (1, "pod-2") == (taken.transitions, taken.holder)
    given_back = await leases.write(release(taken, now()))
    assert ("", 1) == (given_back.holder, given_back.transitions)
    await leases.aclose()


async def test_a_stale_write_is_refused_and_so_is_a_second_create(
    leases: KubernetesLeases, namespace: Namespace
) -> None:
    old = await leases.write(claim(None, ME, now()))
    await leases.write(claim(old, OTHER, now()))
    with pytest.raises(LeaseConflict):
        await leases.write(claim(old, ME, now()))
    with pytest.raises(LeaseConflict):
        await leases.write(claim(None, ME, now()))
    good(namespace.admin.delete(f"{namespace.leases}/{namespace.lease}"))
    with pytest.raises(LeaseConflict):
        await leases.write(claim(old, ME, now()))
    assert "pod-1" == (await leases.write(claim(None, ME, now()))).holder
    await leases.aclose()


async def test_what_others_wrote_into_the_lease_stays(leases: KubernetesLeases, namespace: Namespace) -> None:
    made = await leases.write(claim(None, ME, now()))
    url = f"{namespace.leases}/{namespace.lease}"
    patch = {"metadata": {"labels": {"team": "x"}, "annotations": {"note": "y"}}}
    merge = {"Content-Type": "application/merge-patch+json"}
    good(namespace.admin.patch(url, json=patch, headers=merge))
    with pytest.raises(LeaseConflict):
        await leases.write(claim(made, ME, now()))
    await leases.write(claim(await leases.read(), ME, now()))
    metadata = good(namespace.admin.get(url))["metadata"]
    assert {"team": "x"} == metadata["labels"]
    assert {"note": "y", "klag-trio/process": "process-1"} == metadata["annotations"]
    await leases.aclose()


async def test_a_token_that_is_no_token_is_told(leases: KubernetesLeases, tmp_path: Path) -> None:
    await leases.read()
    (tmp_path / "token").write_text("nonsense")
    with pytest.raises(LeaseUnavailable, match="401 Unauthorized"):
        await leases.read()
    await leases.aclose()


def test_the_chart_allows_nothing_else(namespace: Namespace) -> None:
    token = namespace.request_token()
    namespace_url = f"/api/v1/namespaces/{namespace.name}"
    one, many = f"{namespace.leases}/{namespace.lease}", namespace.leases
    with httpx.Client(
        base_url=namespace.plane.server,
        verify=ssl.create_default_context(cafile=str(namespace.plane.authority)),
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    ) as pod:
        assert 404 == pod.get(one).status_code
        refused = [
            pod.get(many),
            pod.get(f"{many}/another"),
            pod.delete(one),
            pod.delete(many),
            pod.put(f"{many}/another", json={}),
            pod.patch(one, json={}, headers={"Content-Type": "application/merge-patch+json"}),
            pod.get(f"{namespace_url}/secrets"),
            pod.get(f"{namespace_url}/pods"),
            pod.get("/api/v1/namespaces"),
        ]
    assert [403] * len(refused) == [answer.status_code for answer in refused]


@pytest.mark.parametrize("verb", ["get", "update", "create"])
def test_without_any_one_of_the_chart_s_permissions_nobody_leads(
    plane: ControlPlane, admin: httpx.Client, replica: MakeReplica, verb: str
) -> None:
    less = make_namespace(plane, admin, without=verb)
    if verb == "update":
        # To create is not enough when there is one already.
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1}
        good(admin.post(less.leases, json={"metadata": {"name": less.lease}, "spec": spec}))
    one = replica("one", within=less)
    one.start()

    def refused() -> str:
        status, reason = one.get("/ready") or (0, "")
        return reason if status == 503 and "403 Forbidden" in reason else ""

    reason = wait_until(refused, "a 403")
    assert f'cannot {verb} resource "leases"' in reason
    assert "needed: get and update on lease" in reason
    assert one.leads() is False
    assert (200, "ok") == one.get("/health")


def test_a_leader_whose_lease_another_took_steps_back_at_its_next_write(
    namespace: Namespace, replica: MakeReplica
) -> None:
    one = replica("one", duration=15, grace=5)
    one.start()
    wait_until(one.leads, "it leads")
    url = f"{namespace.leases}/{namespace.lease}"

    def take() -> bool:
        lease = good(namespace.admin.get(url))
        lease["spec"] |= {"holderIdentity": "an administrator", "leaseDurationSeconds": 60}
        return namespace.admin.put(url, json=lease).is_success

    wait_until(take, "the lease is taken")
    wait_until(lambda: one.leads() is False, "it steps back", 2.0 + 1.0)
    assert (503, "standing by: an administrator leads") == one.get("/ready")
    answer = one.get("/metrics")
    assert answer is not None
    text = answer[1]
    assert "klag_leader 0\n" in text
    for absent in ("kafka_consumergroup", "kafka_partition", "klag_cluster_up", "kafka_lag_exporter_up"):
        assert f"\n{absent}" not in text


def test_two_replicas_of_one_name_do_not_both_lead(namespace: Namespace, replica: MakeReplica) -> None:
    one, two = (replica(name, identity="klag-trio") for name in ("one", "two"))
    one.start()
    wait_until(one.leads, "the first leads")
    two.start()
    wait_until(lambda: two.get("/ready") == (503, "standing by: klag-trio leads"), "the second stands by")
    transitions = good(namespace.admin.get(f"{namespace.leases}/{namespace.lease}"))["spec"][
        "leaseTransitions"
    ]
    assert 0 == transitions
    assert (True, False) == (one.leads(), two.leads())


def test_without_any_way_to_kubernetes_it_does_not_start(tmp_path: Path, namespace: Namespace) -> None:
    text = config("unused:1", leadership(namespace)).replace("PORT", "0").replace("HOST", "127.0.0.1")
    (tmp_path / "config.toml").write_text(text)
    nowhere = {"HOME": str(tmp_path), "KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": ""}
    ended = run("-c", str(tmp_path / "config.toml"), environ=nowhere)
    assert 2 == ended.code
    (line,) = ended.output.splitlines()
    assert line.startswith("klag-trio: exporter.leadership.enabled: leader election needs the Kubernetes API")
    assert "KUBECONFIG" in line


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"duration": 5, "grace": 5}, "exporter.leadership.grace_period_secs"),
        ({"lease_name": "Klag_Trio"}, "exporter.leadership.lease_name"),
        ({"lease_namespace": "a.b"}, "exporter.leadership.lease_namespace"),
        ({"duration": 0, "grace": 0}, "exporter.leadership.lease_duration_secs"),
        ({"provider": "consul"}, "exporter.leadership.provider"),
    ],
)
def test_a_wrong_lease_configuration_is_told_with_its_path(
    tmp_path: Path, namespace: Namespace, keys: dict[str, object], path: str
) -> None:
    text = config("unused:1", leadership(namespace) | leadership(namespace, **keys))  # type: ignore[arg-type]
    (tmp_path / "config.toml").write_text(text.replace("PORT", "0").replace("HOST", "127.0.0.1"))
    ended = run("-c", str(tmp_path / "config.toml"))
    assert 2 == ended.code
    assert f": {path}: " in ended.output
