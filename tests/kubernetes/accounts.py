"""What an administrator sets up: a namespace, the chart's service account and Role, and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import httpx
import yaml
from tests.broker.waiting import unique

from stack.chart.rendering import template
from stack.kubernetes import ControlPlane

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
_COLLECTIONS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


def good(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
    return answer.json()


@attrs.frozen
class Namespace:
    """A namespace in which the chart's account may do what the chart allows it."""

    name: str
    admin: httpx.Client
    plane: ControlPlane
    account: str
    lease: str

    @property
    def leases(self) -> str:
        return LEASES.format(self.name)

    def holder(self) -> str | None:
        """Who holds the Lease by what the API server says."""
        answer = self.admin.get(f"{self.leases}/{self.lease}")
        return None if answer.status_code == 404 else good(answer)["spec"]["holderIdentity"]

    def token(self, bound_to: str) -> str:
        """A token that is good as long as a Secret of this name exists, which is made here."""
        secrets = f"/api/v1/namespaces/{self.name}/secrets"
        secret = good(self.admin.post(secrets, json={"metadata": {"name": bound_to}}))
        reference = {"apiVersion": "v1", "kind": "Secret", "name": bound_to, "uid": secret["metadata"]["uid"]}
        return self.request_token(reference)

    def request_token(self, reference: dict[str, str] | None = None) -> str:
        url = f"{_COLLECTIONS['ServiceAccount'].format(self.name)}/{self.account}/token"
        spec: dict[str, Any] = {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600}
        if reference is not None:
            spec["boundObjectRef"] = reference
        token: str = good(self.admin.post(url, json={"spec": spec}))["status"]["token"]
        return token

    def revoke(self, bound_to: str) -> None:
        good(self.admin.delete(f"/api/v1/namespaces/{self.name}/secrets/{bound_to}"))

    def kubeconfig(self, folder: Path, token: str) -> Path:
        """A kubeconfig whose token is in a file beside it, as in a pod."""
        (folder / "token").write_text(token)
        path = folder / "kubeconfig"
        document = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "pod"}}],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": self.plane.server,
                        "certificate-authority": str(self.plane.authority),
                    },
                }
            ],
            "users": [{"name": "pod", "user": {"tokenFile": "token"}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path


def make_namespace(plane: ControlPlane, admin: httpx.Client, *, without: str = "") -> Namespace:
    """A namespace with what the chart makes for the election, but for the verb `without`."""
    name = unique("klag")
    good(admin.post("/api/v1/namespaces", json={"metadata": {"name": name}}))
    release = template({"bootstrapServers": "unused:1", "replicaCount": 2}, namespace=name)
    role = release.the("Role")
    (lease,) = {lease for rule in role["rules"] for lease in rule.get("resourceNames", ())}
    for rule in role["rules"]:
        rule["verbs"] = [verb for verb in rule["verbs"] if verb != without]
    role["rules"] = [rule for rule in role["rules"] if rule["verbs"]]
    for document in (release.the("ServiceAccount"), role, release.the("RoleBinding")):
        good(admin.post(_COLLECTIONS[document["kind"]].format(name), json=document))
    return Namespace(name, admin, plane, release.the("ServiceAccount")["metadata"]["name"], lease)
