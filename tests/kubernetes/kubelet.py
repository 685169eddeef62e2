"""What a scheduler and a kubelet do, as far as a rollout needs it: pods become processes of klag-trio.

Each pod gets an address of loopback, the configuration of its ConfigMap, the environment that it asks for, a
token of its service account, its readiness probe over HTTP, SIGTERM when it is deleted, and its status.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import httpx
from tests.kubernetes.accounts import Namespace, good
from tests.kubernetes.replica import Replica

_PERIOD = 0.1
_NODE = "node-1"
_MERGE = {"Content-Type": "application/strategic-merge-patch+json"}
# Not those of other tests: all of 127.0.0.0/8 is loopback.
_addresses = itertools.count(1)


@attrs.define
class Pod:
    name: str
    spec: dict[str, Any]
    replica: Replica
    ready: bool = False
    deleted: bool = False
    since: float = attrs.field(factory=time.time)


class Kubelet:
    """Runs the pods of a namespace inside the with block; `started` is told the address of each."""

    def __init__(self, namespace: Namespace, folder: Path, port: int, started: Callable[[str], None]) -> None:
        self._namespace = namespace
        self._folder = folder
        self._port = port
        self._started = started
        self._pods: dict[str, Pod] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._failure: BaseException | None = None
        self.gone: list[Pod] = []

    @property
    def pods(self) -> list[Pod]:
        """The pods that run."""
        return list(self._pods.values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for pod in self._pods.values():
            pod.replica.end()
        if self._failure is not None:
            raise AssertionError("the kubelet failed") from self._failure

    def _run(self) -> None:
        try:
            with self._namespace.plane.admin() as api:
                while not self._stop.wait(_PERIOD):
                    self._sync(api)
        except BaseException as exc:
            self._failure = exc

    def _sync(self, api: httpx.Client) -> None:
        url = f"/api/v1/namespaces/{self._namespace.name}/pods"
        found = {item["metadata"]["name"]: item for item in good(api.get(url))["items"]}
        for name, item in found.items():
            if name not in self._pods:
                if "deletionTimestamp" not in item["metadata"]:
                    self._admit(api, f"{url}/{name}", item)
                continue
            pod = self._pods[name]
            if "deletionTimestamp" in item["metadata"]:
                self._terminate(api, f"{url}/{name}", pod)
            else:
                self._probe(api, f"{url}/{name}", pod)

    def _admit(self, api: httpx.Client, url: str, item: dict[str, Any]) -> None:
        name, spec = item["metadata"]["name"], item["spec"]
        binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": _NODE}}
        good(api.post(f"{url}/binding", json=binding))
        ip = f"127.0.1.{next(_addresses)}"
        folder = self._folder / name
        folder.mkdir()
        (container,) = spec["containers"]
        token = self._namespace.request_token()
        environ = {"KUBECONFIG": str(self._namespace.kubeconfig(folder, token))}
        for variable in container["env"]:
            source = variable["valueFrom"]["fieldRef"]["fieldPath"]
            environ[variable["name"]] = {"metadata.name": name, "status.podIP": ip}[source]
        (volume,) = (volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume)
        configs = f"/api/v1/namespaces/{self._namespace.name}/configmaps/{volume}"
        config = good(api.get(configs))["data"]["config.toml"]
        replica = Replica(folder, name, config, environ, f"{ip}:{self._port}")
        replica.start()
        self._pods[name] = Pod(name, spec, replica)
        self._started(replica.address)
        self._tell(api, url, self._pods[name])

    def _terminate(self, api: httpx.Client, url: str, pod: Pod) -> None:
        assert pod.replica.process is not None
        if not pod.deleted:
            pod.deleted = True
            pod.replica.process.terminate()
        if pod.replica.process.poll() is not None:
            good(api.request("DELETE", url, json={"gracePeriodSeconds": 0}))
            del self._pods[pod.name]
            self.gone.append(pod)
            pod.replica.end()

    def _probe(self, api: httpx.Client, url: str, pod: Pod) -> None:
        (container,) = pod.spec["containers"]
        answer = pod.replica.get(container["readinessProbe"]["httpGet"]["path"])
        ready = answer is not None and answer[0] < 400
        if ready != pod.ready:
            pod.ready = ready
            self._tell(api, url, pod)

    def _tell(self, api: httpx.Client, url: str, pod: Pod) -> None:
        ip = pod.replica.address.partition(":")[0]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        conditions = [
            {"type": kind, "status": "True" if on else "False", "lastTransitionTime": now}
            for kind, on in {
                "PodScheduled": True,
                "Initialized": True,
                "ContainersReady": pod.ready,
                "Ready": pod.ready,
            }.items()
        ]
        (container,) = pod.spec["containers"]
        status = {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "startTime": now,
            "conditions": conditions,
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": pod.ready,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": now}},
                }
            ],
        }
        good(api.patch(f"{url}/status", json={"status": status}, headers=_MERGE))
