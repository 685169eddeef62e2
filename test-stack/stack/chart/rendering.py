"""The chart, linted and rendered by Helm."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

from stack import ROOT

from .fetch import helm

CHART = ROOT / "helm" / "klag-trio"
KUBERNETES = "1.37.0"


class RefusedError(Exception):
    """Helm refused the values; the message is what it said."""


@attrs.frozen
class Release:
    """What a chart became with some values."""

    text: str = attrs.field(repr=False)

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Every object, in the order of the text."""
        return [item for item in yaml.safe_load_all(self.text) if item]

    def the(self, kind: str) -> dict[str, Any]:
        """The only object of a kind."""
        (only,) = self.all(kind)
        return only

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Every object of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    @property
    def config(self) -> str:
        """The configuration file."""
        text: str = self.the("ConfigMap")["data"]["config.toml"]
        return text

    @property
    def pod(self) -> dict[str, Any]:
        """The spec of the Deployment's pods."""
        spec: dict[str, Any] = self.the("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> dict[str, Any]:
        """The container of klag-trio."""
        found: dict[str, Any] = next(item for item in self.pod["containers"] if item["name"] == "klag-trio")
        return found


class _Quoting(yaml.SafeDumper):
    """Quotes every string: Helm takes some for numbers, such as 0E0, that YAML 1.1 does not."""


_Quoting.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def template(
    values: Path | Mapping[str, Any] | None = None,
    *,
    sets: Iterable[str] = (),
    name: str = "lag",
    namespace: str = "monitoring",
    chart: Path = CHART,
) -> Release:
    """Render the chart with a file of values, or values, and some `--set` besides.

    Raises:
        RefusedError: Helm did not.

    """
    command = ["template", name, str(chart), f"--namespace={namespace}", f"--kube-version={KUBERNETES}"]
    command += [f"--set={item}" for item in sets]
    return Release(_helm(command, values))


def lint(values: Path) -> str:
    """Lint the chart with a file of values and return what Helm says.

    Raises:
        RefusedError: there is an error or a warning.

    """
    return _helm(["lint", "--strict", str(CHART), f"--kube-version={KUBERNETES}"], values)


def _helm(command: list[str], values: Path | Mapping[str, Any] | None) -> str:
    given = None
    if isinstance(values, Path):
        command = [*command, f"--values={values}"]
    elif values is not None:
        command = [*command, "--values=-"]
        given = yaml.dump(dict(values), Dumper=_Quoting)
    done = subprocess.run([str(helm()), *command], input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RefusedError(f"{done.stdout}{done.stderr}")
    return done.stdout
