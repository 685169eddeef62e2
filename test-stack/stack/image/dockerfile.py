"""A Dockerfile, read. Only what ours uses: no heredocs, no ONBUILD, no SHELL."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

import attrs

from stack import ROOT


@attrs.frozen
class Instruction:
    """One instruction: RUN and what follows it, without line breaks."""

    keyword: str
    value: str

    @property
    def flags(self) -> dict[str, str]:
        """Its options, such as from for COPY --from=build."""
        return dict(re.findall(r"--([a-z-]+)=(\S+)", self.value))

    @property
    def words(self) -> list[str]:
        """Its arguments, without options."""
        return [word for word in shlex.split(self.value) if not word.startswith("--")]

    @property
    def pairs(self) -> dict[str, str]:
        """The names and values of ARG, ENV and LABEL."""
        return dict(word.partition("=")[::2] for word in self.words)

    @property
    def command(self) -> list[str]:
        """The JSON array of ENTRYPOINT and of HEALTHCHECK ... CMD."""
        found: list[str] = json.loads(self.value[self.value.index("[") :])
        return found


@attrs.frozen
class Stage:
    """What one FROM begins."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, keyword: str) -> list[Instruction]:
        """The instructions of one kind."""
        return [item for item in self.instructions if item.keyword == keyword]


def stages(text: str) -> dict[str, Stage]:
    """The stages by name, in their order."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    arguments: dict[str, str] = {}
    found: dict[str, Stage] = {}
    for line in filter(str.strip, joined.splitlines()):
        keyword, value = line.strip().split(maxsplit=1)
        if keyword == "FROM":
            base, _, name = value.split()
            found[name] = Stage(name, substitute(base, arguments), ())
        elif found:
            stage = list(found.values())[-1]
            instruction = Instruction(keyword, value)
            found[stage.name] = attrs.evolve(stage, instructions=(*stage.instructions, instruction))
        else:
            name, _, default = value.partition("=")
            arguments[name] = default
    return found


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Put values in for $NAME and ${NAME}."""
    return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda found: values.get(found[1] or found[2], ""), text)


def ours() -> dict[str, Stage]:
    """Those of klag-trio's Dockerfile."""
    return stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))
