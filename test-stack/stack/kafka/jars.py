"""Where Java and Kafka's jars come from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from stack.cache import cached
from stack.kafka.errors import StackError

HERE = Path(__file__).resolve().parent
INSTALL = "sudo apt-get install --yes default-jre-headless maven"
OLDEST_JAVA = 17


def java() -> str:
    """Return the path of a Java 17 or newer; StackError says what to install where there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    if found is None:
        raise StackError(
            f"Kafka needs Java {OLDEST_JAVA} or newer and there is no java. Install it: {INSTALL}"
        )
    said = java_version(found)
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise StackError(
            f"Kafka needs Java {OLDEST_JAVA} or newer. Install it: {INSTALL}\n{found} says: {said.strip()}"
        )
    return found


def java_version(java: str) -> str:
    """What this Java says of itself."""
    return subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr


def jars(version: str) -> Path:
    """Return the folder that holds Kafka's jars of this version, fetched by Maven on the first call."""
    with cached(f"kafka-{version}") as (folder, empty):
        if empty is not None:
            _fetch(version, empty)
    return folder


def _fetch(version: str, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(f"Kafka's jars are fetched with Maven and there is no mvn. Install it: {INSTALL}")
    command = [maven, "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
    run = subprocess.run(
        [*command, f"-Dkafka.version={version}", f"-DoutputDirectory={folder}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise StackError(f"Maven could not fetch Kafka {version}:\n{run.stdout}{run.stderr}")
