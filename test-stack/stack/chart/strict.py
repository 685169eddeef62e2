"""Kubernetes' own schemas and those of custom resources, in which a field that is not listed is wrong."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from .fetch import crds
from .rendering import KUBERNETES

_STRICT = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"


class _Loader(yaml.CSafeLoader):
    """A bare = is a string: YAML 1.1 gives it a type that PyYAML does not make."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: str(node.value))


def mistakes(item: dict[str, Any]) -> list[str]:
    """What the API server would find wrong with an object, each with its path."""
    where = f"{item['kind']} {item['metadata']['name']}"
    return [
        f"{where}: {error.json_path}: {error.message[:300]}"
        for error in _validator(item["apiVersion"], item["kind"]).iter_errors(item)
    ]


@cache
def definitions() -> dict[str, Any]:
    """Kubernetes' definitions by name, such as io.k8s.api.core.v1.Affinity."""
    found: dict[str, Any] = _kubernetes("_definitions")["$defs"]
    return found


@cache
def custom_resource(group: str, version: str, kind: str) -> dict[str, Any]:
    """The schema of a custom resource."""
    return _custom_resources()[group, version, kind]


@cache
def _validator(api_version: str, kind: str) -> Validator:
    group, _, version = api_version.rpartition("/")
    if custom := _custom_resources().get((group, version, kind)):
        return Draft202012Validator(custom)
    # networking.k8s.io/v1 is spelled networking-v1 there.
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], version) if part)
    shared = Resource.from_contents(_kubernetes("_definitions"), default_specification=DRAFT202012)
    return Draft202012Validator(_kubernetes(name), registry=shared @ Registry())


@cache
def _kubernetes(name: str) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads((_STRICT / f"{name}.json").read_text(encoding="utf-8"))
    return contents


@cache
def _custom_resources() -> dict[tuple[str, str, str], dict[str, Any]]:
    found = {}
    for file in crds().glob("*.yaml"):
        for item in yaml.load_all(file.read_text(encoding="utf-8"), _Loader):
            if item and item["kind"] == "CustomResourceDefinition":
                spec = item["spec"]
                for version in spec["versions"]:
                    key = spec["group"], version["name"], spec["names"]["kind"]
                    found[key] = _strict(version["schema"]["openAPIV3Schema"])
    return found


def _strict(schema: Any) -> Any:
    """An OpenAPI schema as JSON schema, where an object that lists its fields has no others."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(item) for name, item in schema.items()}
    if (
        "properties" in schema
        and schema.get("type") == "object"
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        strict.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        strict["type"] = ["integer", "string"]
    return strict
