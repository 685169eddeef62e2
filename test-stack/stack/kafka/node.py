"""One broker process: started, stopped, killed, frozen."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from stack.kafka.errors import StackError
from stack.kafka.guarded import GuardedProcess
from stack.kafka.prepared import copy_formatted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
# A broker of a test lives for seconds: what matters is that it is up soon and leaves the cores to the tests.
JVM = [
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
]
# Kafka 4 looks at log4j 2 although it logs through log4j 1 here; unconfigured, that would complain.
QUIET = "-Dlog4j2.statusLoggerLevel=OFF"
STOP_SECONDS = 10.0
LOG_LINES_SHOWN = 60


class KafkaNode:
    """A broker, which is a controller too, on fixed ports and with its own data folder.

    `overrides` are broker properties that hold from the next start on.
    """

    def __init__(
        self, node_id: int, *, java: Sequence[str], folder: Path, properties: Mapping[str, str], port: int
    ) -> None:
        self.node_id = node_id
        self.port = port
        self.overrides: dict[str, str] = {}
        self._java = java
        self._cluster_folder = folder
        self._folder = folder / f"node-{node_id}"
        self._properties = {**properties, "log.dirs": str(self.data_folder)}
        self._process: GuardedProcess | None = None

    @property
    def bootstrap_server(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def data_folder(self) -> Path:
        """Where the partitions are, a folder each."""
        return self._folder / "data"

    @property
    def log_file(self) -> Path:
        return self._folder / "server.log"

    @property
    def pid(self) -> int:
        """The broker's process; StackError when it does not run."""
        if self._process is None or not self._process.running:
            raise StackError(f"node {self.node_id} does not run:\n{self.log()}")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def log(self) -> str:
        """The end of the broker's log."""
        if not self.log_file.exists():
            return "(no log was written)"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])

    def format(self, version: str, arguments: Sequence[str], cluster_id: str) -> None:
        """Make the data folder, as each node needs once."""
        self._folder.mkdir()
        copy_formatted(self.data_folder, version, arguments, node_id=self.node_id, cluster_id=cluster_id)

    def launch(self) -> None:
        """Start the process, which is not ready for some seconds yet."""
        if self.running:
            return
        self.wait()
        command = [*self._jvm(), "kafka.Kafka", str(self._write_properties())]
        self._process = GuardedProcess(command, folder=self._cluster_folder)

    def terminate(self) -> None:
        """Ask the broker to stop; does not wait."""
        self.thaw()
        self._signal(signal.SIGTERM)

    def wait(self, seconds: float = STOP_SECONDS) -> None:
        """Wait for the broker to be gone; one that is not in time is killed."""
        if self._process is not None:
            self._process.wait(seconds)
            self._process = None

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        self.terminate()
        self.wait(seconds)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self.wait()

    def freeze(self) -> None:
        """Let the broker keep its connections and answer nothing from now on."""
        os.kill(self.pid, signal.SIGSTOP)
        # Its threads go on until one of them has taken the signal, which a busy machine may delay.
        deadline = time.monotonic() + STOP_SECONDS
        while not self._stopped():
            if time.monotonic() > deadline:
                raise StackError(f"node {self.node_id} does not freeze")
            time.sleep(0.001)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _stopped(self) -> bool:
        try:
            stats = [task.read_text() for task in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        except (FileNotFoundError, ProcessLookupError):
            return False  # a thread has just ended, so that they still run
        return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send(number)

    def _jvm(self) -> list[str]:
        logging = f"-Dlog4j.configuration={(HERE / 'log4j.properties').as_uri()}"
        name = f"-Dnode.name=kafka node {self.node_id}"
        return [*self._java, *JVM, QUIET, logging, name, f"-Dnode.log={self.log_file}"]

    def _write_properties(self) -> Path:
        path = self._folder / "server.properties"
        merged = {**self._properties, **self.overrides}
        # Java's own escape character would be taken out of a value (a JAAS line may hold one).
        path.write_text("".join(f"{key}={value}\n".replace("\\", "\\\\") for key, value in merged.items()))
        return path
