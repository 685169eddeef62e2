"""The stages of the Dockerfile, made in folders: Debian stands in for the base image, chroot for the engine.

Needs root and debootstrap. What differs from a real build: the base is Debian of the same release with its
own Python, and there are no layers and no registry.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from stack import ROOT
from stack.cache import folder_of

from .dockerfile import Instruction, Stage, ours, substitute

# What the base image's tag says.
RELEASE = "bookworm"
# Where the base image has pip; here it is empty files.
_PIP = (
    "bin/pip",
    "bin/pip3",
    "bin/pip3.13",
    "lib/python3.13/ensurepip/_bundled/pip-25.3-py3-none-any.whl",
    "lib/python3.13/site-packages/pip/__init__.py",
    "lib/python3.13/site-packages/pip-25.3.dist-info/RECORD",
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BuildError(Exception):
    """A command of the Dockerfile failed; the message has its output."""


@attrs.frozen
class Image:
    """A folder with all that is in the image, and how a container of it starts."""

    root: Path
    environ: Mapping[str, str] = attrs.field(factory=lambda: {"PATH": _PATH})
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    labels: Mapping[str, str] = attrs.field(factory=dict)
    # Of the stage's ARG instructions; a stage built on it has none of them.
    arguments: Mapping[str, str] = attrs.field(factory=dict)

    def command(
        self,
        arguments: Sequence[str],
        *,
        mounts: Mapping[Path, str] | None = None,
        environ: Mapping[str, str] | None = None,
        confined: bool = True,
    ) -> list[str]:
        """What starts a program in a container: its process 1, with its user.

        Where it is confined, all but what is mounted is read-only, no capability is left and none can be had.
        """
        root = shlex.quote(str(self.root))
        script = ["set -e", f"mount --rbind {root} {root}", f"mount -t proc proc {root}/proc"]
        script += [f"mount --rbind /dev {root}/dev"]
        for source, target in (mounts or {}).items():
            (self.root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
            script.append(f"mount --bind {shlex.quote(str(source))} {root}{target}")
        uid, gid = self.user.split(":")
        rights = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        if confined:
            script.append(f"mount -o remount,ro,bind {root}")
            rights += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        variables = [f"{name}={value}" for name, value in {**self.environ, **(environ or {})}.items()]
        start = ["chroot", str(self.root), *rights, "env", "--ignore-environment", f"--chdir={self.workdir}"]
        script.append(f"exec {shlex.join([*start, *variables, *arguments])}")
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(script)]


def base() -> Path:
    """Return a folder with Debian, its Python and CA certificates, made on the first call on a machine."""
    if os.geteuid() != 0:
        raise BuildError("the image is made in a chroot, which only root can do: run it as root")
    # A machine keeps it: the number goes up where what is made here changes.
    folder = folder_of(f"debian-{RELEASE}-2")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            include = "--include=ca-certificates,python3,python3-dev,python3-venv"
            _check(
                ["nice", "debootstrap", "--variant=minbase", include, RELEASE, str(unfinished), *_mirror()]
            )
            # In the base image it has this name, too.
            (unfinished / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            for path in _PIP:
                (unfinished / "usr/local" / path).parent.mkdir(parents=True, exist_ok=True)
                (unfinished / "usr/local" / path).touch()
            unfinished.rename(folder)
    return folder


def _mirror() -> list[str]:
    """Where this machine has the release from; debootstrap's own where it is of another one."""
    command = ["apt-get", "indextargets", "--format=$(REPO_URI)", f"Codename: {RELEASE}"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return found[:1]


@attrs.frozen
class Build:
    """The stages of the Dockerfile, each made once, in folders below one.

    `arguments` are what --build-arg gives.
    """

    folder: Path
    arguments: Mapping[str, str] = attrs.field(factory=dict)
    _stages: Mapping[str, Stage] = attrs.field(factory=ours)
    _done: dict[str, Image] = attrs.field(factory=dict, init=False)

    def image(self, name: str) -> Image:
        """Make a stage, and those it needs.

        Raises:
            BuildError: one of its commands failed.

        """
        if name not in self._done:
            self._done[name] = self._made(self._stages[name])
        return self._done[name]

    def _made(self, stage: Stage) -> Image:
        if stage.base in self._stages:
            below = self.image(stage.base)
        else:
            assert stage.base == f"python:3.13-slim-{RELEASE}", f"what stands in for {stage.base}?"
            below = Image(base())
        self.folder.mkdir(parents=True, exist_ok=True)
        image = attrs.evolve(below, root=self.folder / stage.name, arguments={})
        _check(["cp", "--archive", "--reflink=auto", str(below.root), str(image.root)])
        for instruction in stage.instructions:
            image = self._apply(instruction, image)
        return image

    def _apply(self, instruction: Instruction, image: Image) -> Image:
        known = {**image.arguments, **image.environ}
        match instruction.keyword:
            case "RUN":
                _run(instruction.value, image)
            case "COPY":
                _copy(instruction, image, lambda other: self.image(other).root)
            case "ARG":
                given = {name: self.arguments.get(name, value) for name, value in instruction.pairs.items()}
                return attrs.evolve(image, arguments={**image.arguments, **given})
            case "ENV":
                added = {name: substitute(value, known) for name, value in instruction.pairs.items()}
                return attrs.evolve(image, environ={**image.environ, **added})
            case "LABEL":
                added = {name: substitute(value, known) for name, value in instruction.pairs.items()}
                return attrs.evolve(image, labels={**image.labels, **added})
            case "WORKDIR":
                (image.root / instruction.value.lstrip("/")).mkdir(parents=True, exist_ok=True)
                return attrs.evolve(image, workdir=instruction.value)
            case "USER":
                return attrs.evolve(image, user=instruction.value)
            case "ENTRYPOINT":
                return attrs.evolve(image, entrypoint=tuple(instruction.command))
            case "HEALTHCHECK":
                return attrs.evolve(image, healthcheck=tuple(instruction.command))
            case "EXPOSE":
                pass
            case other:
                raise BuildError(f"{other} is not known here")
        return image


def _run(command: str, image: Image) -> None:
    # How this machine gets at its registries.
    shared = {
        Path(path): path for path in ("/etc/ssl/certs", "/usr/share/ca-certificates") if Path(path).is_dir()
    }
    known = re.compile(r"(PIP|SSL|NODE|npm|REQUESTS|CURL|https?|HTTPS?|no|NO)_?\w*", re.ASCII)
    environ = {name: value for name, value in os.environ.items() if known.fullmatch(name)}
    for file in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf"):
        if Path(file).is_file():
            shutil.copyfile(file, image.root / file.lstrip("/"))
    _check(
        [
            "nice",
            *image.command(["sh", "-c", command], mounts=shared, environ=environ, confined=False),
        ]
    )


def _copy(instruction: Instruction, image: Image, built: Callable[[str], Path]) -> None:
    *sources, target = instruction.words
    stage = instruction.flags.get("from")
    into = (
        image.root / target.lstrip("/") if target.startswith("/") else image.root / image.workdir[1:] / target
    )
    for source in sources:
        found = built(stage) / source.lstrip("/") if stage else _sent(source)
        to = into / found.name if target.endswith("/") else into
        if found.is_dir():
            shutil.copytree(found, to, symlinks=True, dirs_exist_ok=True, ignore=_without_bytecode(stage))
        else:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, to)


def _sent(source: str) -> Path:
    """A file or folder of the repository, if .dockerignore lets it through."""
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if f"!{source}" not in allowed:
        raise BuildError(f".dockerignore does not let {source} through")
    return ROOT / source


def _without_bytecode(stage: str | None) -> Callable[[str, list[str]], set[str]] | None:
    return None if stage else shutil.ignore_patterns("__pycache__")


def _check(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{command[-1]}\nfailed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
