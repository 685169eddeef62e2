"""A real Kubernetes control plane on loopback ports: etcd, kube-apiserver and kube-controller-manager."""

from __future__ import annotations

from .build import programs
from .control_plane import ControlPlane

__all__ = ["ControlPlane", "programs"]
