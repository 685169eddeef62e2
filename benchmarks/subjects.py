"""Which exporters the harness knows: how each is configured and what its metrics are called."""

from __future__ import annotations

import shlex
import shutil
import socket
import sys
from pathlib import Path

import attrs

CLUSTER = "bench"


@attrs.frozen
class Dialect:
    """What one exporter calls things. None: it has no such metric."""

    name: str
    lag: str
    committed: str | None = None
    time_lag: str | None = None
    cycle: str | None = None
    phases: str | None = None
    last_update: str | None = None
    reads: str | None = None
    read_bytes: str | None = None
    health: str = "/health"
    default_mode: str = "message"


_LAG_EXPORTER = Dialect(
    name="klag-exporter",
    lag="kafka_consumergroup_group_lag",
    committed="kafka_consumergroup_group_offset",
    time_lag="kafka_consumergroup_group_lag_seconds",
    cycle="kafka_lag_exporter_scrape_duration_seconds",
    last_update="kafka_lag_exporter_last_update_timestamp_seconds",
    default_mode="rate",
)
DIALECTS = {
    d.name: d
    for d in (
        _LAG_EXPORTER,
        attrs.evolve(
            _LAG_EXPORTER,
            name="klag-trio",
            phases="klag_cycle_phase_seconds",
            reads="klag_time_lag_reads_total",
            read_bytes="klag_time_lag_read_bytes_total",
            default_mode="message",
        ),
        Dialect(name="kafka_exporter", lag="kafka_consumergroup_lag", health="/healthz"),
        Dialect(name="kminion", lag="kminion_kafka_consumer_group_topic_partition_lag", health="/ready"),
    )
}
MODES = ("message", "rate", "off")


@attrs.frozen
class Subject:
    """One exporter to measure: a name, a mode of time lag, a port, and a command with {placeholders}."""

    name: str
    mode: str
    port: int
    command: str
    dialect: Dialect

    @property
    def title(self) -> str:
        return self.name if self.mode == self.dialect.default_mode else f"{self.name}@{self.mode}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def arguments(self, config: Path, bootstrap: str) -> list[str]:
        places = {"config": str(config), "bootstrap": bootstrap, "port": str(self.port)}
        return [part.format_map(places) for part in shlex.split(self.command)]


def parse_peer(text: str) -> Subject:
    """NAME=PORT=COMMAND, where NAME may end in @message, @rate or @off, and PORT 0 picks a free one.

    COMMAND may hold {config}, {bootstrap} and {port}; where it holds none of them, "-c {config}" is added.
    """
    name, _, rest = text.partition("=")
    port, _, command = rest.partition("=")
    base, _, mode = name.partition("@")
    if not base or not port.isdecimal() or not command:
        raise ValueError(f"{text!r}: expected NAME=PORT=COMMAND")
    dialect = DIALECTS.get(base, attrs.evolve(_LAG_EXPORTER, name=base))
    if mode and mode not in MODES:
        raise ValueError(f"{text!r}: the mode is one of {', '.join(MODES)}, not {mode!r}")
    if not any(place in command for place in ("{config}", "{bootstrap}", "{port}")):
        command += " -c {config}"
    return Subject(base, mode or dialect.default_mode, int(port) or free_port(), command, dialect)


def ours(mode: str) -> Subject:
    """klag-trio as it is installed beside this Python."""
    script = Path(sys.executable).with_name("klag-trio")
    return Subject("klag-trio", mode, free_port(), f"{script} -c {{config}} -l warn", DIALECTS["klag-trio"])


def peers_on_path() -> list[Subject]:
    """The peers of which the harness knows how to start them, where they are installed."""
    known = {
        "klag-exporter": "klag-exporter -l warn -c {config}",
        "kafka_exporter": "kafka_exporter --kafka.server={bootstrap} --web.listen-address=127.0.0.1:{port}",
    }
    return [parse_peer(f"{name}=0={command}") for name, command in known.items() if shutil.which(name)]


def config_text(subject: Subject, bootstrap: str, poll_interval: float, whitelist: str) -> str:
    """The configuration, in the form that klag-exporter and klag-trio share."""
    enabled = str(subject.mode != "off").lower()
    mode = "" if subject.mode == "off" else f'mode = "{subject.mode}"\n'
    return (
        "[exporter]\n"
        f'poll_interval = "{round(poll_interval * 1000)}ms"\n'
        'http_host = "127.0.0.1"\n'
        f"http_port = {subject.port}\n"
        'granularity = "partition"\n\n'
        "[exporter.timestamp_sampling]\n"
        f"enabled = {enabled}\n{mode}\n"
        "[[clusters]]\n"
        f'name = "{CLUSTER}"\n'
        f'bootstrap_servers = "{bootstrap}"\n'
        f'group_whitelist = ["{whitelist}"]\n'
        f'topic_whitelist = ["{whitelist}"]\n'
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
