"""What makes a start quick, made once per machine: a formatted data folder, an archive of loaded classes."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from stack.cache import cached, folder_of
from stack.kafka.errors import StackError
from stack.kafka.jars import jars, java, java_version

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARCHIVE = "classes.jsa"
_ARCHIVE_SECONDS = 120.0
# What formatting needs to know. The ids that it writes down are replaced in each copy.
_PROPERTIES = """\
node.id=1
process.roles=broker,controller
controller.quorum.voters=1@127.0.0.1:1
controller.listener.names=CONTROLLER
listeners=CONTROLLER://127.0.0.1:1,PLAINTEXT://127.0.0.1:2
log.dirs={folder}
"""


def copy_formatted(
    folder: Path, version: str, arguments: Sequence[str], *, node_id: int, cluster_id: str
) -> None:
    """Make a node's data folder; `arguments` are those of Kafka's storage tool (`--add-scram`)."""
    told = hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:12]
    with cached(f"kafka-{version}-formatted-{told}") as (formatted, empty):
        if empty is not None:
            _format(empty, version, arguments)
    shutil.copytree(formatted, folder)
    meta = folder / "meta.properties"
    own = {"node.id": str(node_id), "cluster.id": cluster_id, "directory.id": random_id()}
    text = meta.read_text()
    for key, value in own.items():
        text = re.sub(rf"^{re.escape(key)}=.*$", f"{key}={value}", text, flags=re.MULTILINE)
    meta.write_text(text)


def random_id() -> str:
    """A random id as Kafka spells it."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def class_archive(version: str) -> Path:
    """The classes that a broker of this version loads; there once `python test-stack kafka fetch` has run."""
    return folder_of(_archive_name(version)) / _ARCHIVE


def make_class_archive(version: str) -> None:
    """Let a broker run once and write down what it loaded, where that was not done before on this machine."""
    from stack.kafka.cluster import KafkaCluster

    with cached(_archive_name(version)) as (_, empty):
        if empty is not None:
            archive = empty / _ARCHIVE
            write = ["-Xlog:disable", f"-XX:ArchiveClassesAtExit={archive}"]
            with KafkaCluster(version=version, jvm_arguments=write) as cluster:
                cluster.nodes[0].stop(_ARCHIVE_SECONDS)
            if not archive.exists():
                raise StackError(f"Java wrote no archive of the classes of Kafka {version}")


def _archive_name(version: str) -> str:
    # An archive holds for the Java that wrote it.
    return f"kafka-{version}-classes-{hashlib.sha256(java_version(java()).encode()).hexdigest()[:12]}"


def _format(folder: Path, version: str, arguments: Sequence[str]) -> None:
    properties = folder.with_suffix(".properties")
    properties.write_text(_PROPERTIES.format(folder=folder))
    tool = [
        java(),
        "-XX:TieredStopAtLevel=1",
        "-cp",
        f"{jars(version)}/*",
        "kafka.tools.StorageTool",
        "format",
    ]
    run = subprocess.run(
        [*tool, f"--cluster-id={random_id()}", "-c", str(properties), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise StackError(f"Kafka {version} cannot format a folder:\n{run.stdout}{run.stderr}")
