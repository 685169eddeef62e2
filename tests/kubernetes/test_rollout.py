"""The chart on a real control plane: a rolling update completes, and a drain moves the lead.

The deployment, replica set and disruption controllers are real, and so are the pods' processes. Of the
kubelet there is what these need.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import yaml
from tests.broker.waiting import unique, wait_until
from tests.kubernetes.accounts import Namespace, good
from tests.kubernetes.kubelet import Kubelet, Pod
from tests.kubernetes.replica import free_port
from tests.kubernetes.watching import Stint, Watcher, gaps, overlaps, stints, watching

from stack.chart.fetch import helm
from stack.chart.rendering import CHART
from stack.kubernetes import ControlPlane

RELEASE = "ha"
FAILOVER_SECONDS = 2.0


@attrs.frozen
class Cluster:
    """A namespace with the chart in it."""

    namespace: Namespace
    kubelet: Kubelet
    watcher: Watcher
    values: dict[str, Any]

    def upgrade(self, *, seconds: int = 120, **exporter: object) -> subprocess.CompletedProcess[str]:
        """`helm upgrade --install --wait`, with these keys of the exporter changed."""
        values = {**self.values, "config": {"exporter": {**self.values["config"]["exporter"], **exporter}}}
        return self.helm("upgrade", values, seconds)

    def helm(self, verb: str, values: dict[str, Any], seconds: int) -> subprocess.CompletedProcess[str]:
        plane = self.namespace.plane
        return subprocess.run(
            [
                *[str(helm()), verb, "--install", RELEASE, str(CHART), "--values=-", "--wait"],
                *[f"--timeout={seconds}s", f"--namespace={self.namespace.name}"],
                f"--kubeconfig={plane.admin_kubeconfig()}",
            ],
            input=yaml.safe_dump(values),
            capture_output=True,
            text=True,
            check=False,
        )

    def leader(self) -> Pod:
        """The pod that leads, once one does."""

        def leads() -> Pod | None:
            return next((pod for pod in self.kubelet.pods if pod.replica.leads()), None)

        found = wait_until(leads, "a pod leads")
        assert found is not None
        return found

    def ready(self) -> list[Pod]:
        """Both pods, once there are two and both are ready."""

        def settled() -> list[Pod] | None:
            pods = self.kubelet.pods
            return pods if len(pods) == 2 and all(pod.ready and not pod.deleted for pod in pods) else None

        found = wait_until(settled, "two pods are ready", 60.0)
        assert found is not None
        return found

    def disruptions_allowed(self) -> int:
        url = f"/apis/policy/v1/namespaces/{self.namespace.name}/poddisruptionbudgets"
        (budget,) = good(self.namespace.admin.get(url))["items"]
        status = budget.get("status", {})
        current = status.get("observedGeneration") == budget["metadata"]["generation"]
        return int(status.get("disruptionsAllowed", 0)) if current else 0

    def evict(self, pod: Pod) -> httpx.Response:
        """What `kubectl drain` asks for."""
        url = f"/api/v1/namespaces/{self.namespace.name}/pods/{pod.name}/eviction"
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.name}}
        return self.namespace.admin.post(url, json=body)

    def judge(self) -> tuple[list[Stint], list[tuple[float, float]]]:
        """The stints that the watcher saw and the times without a leader between them."""
        address = self.leader().replica.address
        wait_until(lambda: self._seen_to_lead(address), "the watcher sees it lead")
        found = stints(self.watcher.seen())
        assert [] == overlaps(found)
        without = gaps(found)
        print("seconds without a leader:", [round(length, 2) for _, length in without])  # noqa: T201
        return found, without

    def _seen_to_lead(self, address: str) -> bool:
        """Whether the last stint is this replica's, and no single answer."""
        found = [stint for stint in stints(self.watcher.seen()) if stint.asked == "/leader"]
        return bool(found) and found[-1].address == address and len(found[-1].answers) > 2


@pytest.fixture
def cluster(plane: ControlPlane, admin: httpx.Client, lagging: str, tmp_path: Path) -> Iterator[Cluster]:
    with _cluster(plane, admin, lagging, tmp_path) as made:
        installed = made.upgrade()
        assert 0 == installed.returncode, installed.stderr
        made.ready()
        made.leader()
        yield made


@contextmanager
def _cluster(plane: ControlPlane, admin: httpx.Client, lagging: str, folder: Path) -> Iterator[Cluster]:
    name, port = unique("rollout"), free_port()
    good(admin.post("/api/v1/namespaces", json={"metadata": {"name": name}}))
    namespace = Namespace(name, admin, plane, f"{RELEASE}-klag-trio", f"{RELEASE}-klag-trio")
    values = {
        "bootstrapServers": lagging,
        "replicaCount": 2,
        "extraEnv": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "config": {
            "exporter": {
                "http_host": "${POD_IP}",
                "http_port": port,
                "poll_interval": "1s",
                "leadership": {"lease_duration_secs": 3, "grace_period_secs": 1},
            }
        },
    }
    with watching(folder) as watcher, Kubelet(namespace, folder, port, watcher.watch) as kubelet:
        yield Cluster(namespace, kubelet, watcher, values)


@pytest.mark.timeout(300)
def test_a_rolling_update_completes_and_has_no_moment_without_a_leader_but_the_failover(
    cluster: Cluster,
) -> None:
    before = {pod.name for pod in cluster.ready()}
    upgraded = cluster.upgrade(poll_interval="2s")
    assert 0 == upgraded.returncode, upgraded.stderr
    wait_until(lambda: not before & {pod.name for pod in cluster.kubelet.pods}, "the old pods are gone", 60.0)
    cluster.ready()
    _, without = cluster.judge()
    # Each of the two old pods, and no other, may have led and given the lead away.
    assert 1 <= len(without) <= 2
    assert max(length for _, length in without) < FAILOVER_SECONDS
    released = [pod for pod in cluster.kubelet.gone if pod.replica.log("gave the lease back")]
    assert len(without) == len(released)


@pytest.mark.timeout(300)
def test_a_drain_evicts_the_leader_and_another_leads_within_2_seconds(cluster: Cluster) -> None:
    leader = cluster.leader()
    wait_until(lambda: cluster.disruptions_allowed() == 1, "the budget allows a disruption")
    evicted = time.monotonic()
    answer = cluster.evict(leader)
    assert 201 == answer.status_code, answer.text
    other = next(pod for pod in cluster.kubelet.pods if pod is not leader)
    # The budget holds the other one until there are two again.
    assert 429 == cluster.evict(other).status_code
    wait_until(lambda: leader in cluster.kubelet.gone, "the evicted pod is gone")
    cluster.ready()
    successor = cluster.leader()
    assert successor is not leader
    wait_until(lambda: cluster.disruptions_allowed() == 1, "the budget allows another")
    found, without = cluster.judge()
    took = min(s.first - evicted for s in found if s.first > evicted and s.address != leader.replica.address)
    assert took < FAILOVER_SECONDS
    assert 1 == len(without)


@pytest.mark.timeout(300)
def test_with_ready_as_the_probe_no_rollout_would_end(cluster: Cluster) -> None:
    values = {**cluster.values, "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}}}
    upgraded = cluster.helm("upgrade", values, 20)
    assert 0 != upgraded.returncode
    assert "deadline" in upgraded.stderr or "timed out" in upgraded.stderr
    # The old leader goes on meanwhile.
    assert cluster.leader().replica.leads()
