"""Secrets planted everywhere, and where they may not turn up; and a file system that cannot be written."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, get_type_hints

import attrs
import pytest
from tests.broker.waiting import OF_THIS_PROCESS, wait_until
from tests.program.program import COMMAND, Ended, config_text, run, running, toml

from klag_trio.config import Cluster, ConfigError, Exporter, load_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.conftest import Kafka

PLANTED = "rosebud-1941-planted"
# What librdkafka takes as a file, a URL, a list, a flag or a number, and what it takes as a secret.
PROPERTIES = [
    "sasl.password",
    "sasl.username",
    "ssl.key.password",
    "ssl.keystore.password",
    "ssl.key.pem",
    "ssl.certificate.pem",
    "ssl.ca.pem",
    "ssl.ca.location",
    "ssl.key.location",
    "ssl.certificate.location",
    "ssl.keystore.location",
    "ssl.crl.location",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.engine.location",
    "ssl.providers",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions",
    "sasl.kerberos.keytab",
    "sasl.kerberos.principal",
    "sasl.kerberos.kinit.cmd",
    "sasl.mechanisms",
    "security.protocol",
    "client.id",
    "client.rack",
    "debug",
    "socket.timeout.ms",
    "enable.ssl.certificate.verification",
    "ssl.endpoint.identification.algorithm",
    "group.protocol",
    "broker.address.family",
    "no.such.property",
]


def keys(kind: type[Any], above: str) -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in attrs.fields(kind):
        path = f"{above}.{field.name}"
        if attrs.has(hints[field.name]) and "read" not in field.metadata:
            yield from keys(hints[field.name], path)
        else:
            yield path


KEYS = [*keys(Exporter, "exporter"), *keys(Cluster, "clusters")]


def with_planted(path: str, value: str) -> str:
    """A configuration in which this key has this value, as TOML spells it."""
    table, *rest = path.split(".")
    cluster = {"name": '"main"', "bootstrap_servers": '"127.0.0.1:1"'}
    exporter = {}
    if table == "clusters":
        cluster[rest[0]] = value
    else:
        exporter[".".join(rest)] = value
    lines = ["[exporter]", *(f"{key} = {text}" for key, text in exporter.items())]
    lines += ["[[clusters]]", *(f"{key} = {text}" for key, text in cluster.items())]
    return "\n".join(lines)


@pytest.mark.parametrize("path", KEYS)
@pytest.mark.parametrize(
    "written",
    [
        "${PLANTED}",
        '"${PLANTED}"',
        '["${PLANTED}"]',
        '{a = "${PLANTED}"}',
        '"x${PLANTED}(["',
        '["(${PLANTED}"]',
    ],
)
def test_what_comes_from_the_environment_is_in_no_message_about_any_key(path: str, written: str) -> None:
    assert len(KEYS) > 30
    try:
        config = load_config(with_planted(path, written), {"PLANTED": f"({PLANTED}@"})
    except ConfigError as exc:
        assert PLANTED not in str(exc)  # noqa: PT017 - some keys take it
    else:
        # It is a value that the key takes, such as a name, and what is a secret by its key stays hidden.
        assert path != "clusters.consumer_properties" or PLANTED not in repr(config)


def test_what_librdkafka_is_given_is_in_no_line_of_any_level(tmp_path: Path) -> None:
    """Each property in a cluster of its own: what librdkafka refuses at the start, and what it lives with."""
    told = {name: {"name": name, "bootstrap_servers": "127.0.0.1:1"} for name in PROPERTIES}

    def check(names: Sequence[str]) -> Ended:
        quick = {"socket.connection.setup.timeout.ms": "1000"}
        clusters = [{**told[name], "consumer_properties": {name: "${PLANTED}", **quick}} for name in names]
        path = tmp_path / "config.toml"
        path.write_text(config_text(clusters, {"performance": {"kafka_timeout": "200ms"}}))
        ended = run("-l", "trace", "-c", str(path), "check", environ={"PLANTED": PLANTED})
        assert PLANTED not in ended.output
        assert "Traceback" not in ended.output
        return ended

    first = check(PROPERTIES)
    assert 2 == first.code
    refused = [name for name in PROPERTIES if f"cluster {name}: " in first.output]
    assert {"security.protocol", "socket.timeout.ms", "no.such.property"} <= set(refused)
    taken = [name for name in PROPERTIES if name not in refused]
    second = check(taken)
    assert 1 == second.code
    assert taken == [name for name in taken if f"cluster {name}: not reached" in second.output]


def test_passwords_of_a_running_program_are_in_no_line_and_on_no_page(kafka: Kafka, tmp_path: Path) -> None:
    secrets = {"sasl.password": PLANTED, "ssl.key.password": f"{PLANTED}-2", "sasl.username": f"{PLANTED}-3"}
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN", **secrets}
    few = {"topic_whitelist": [OF_THIS_PROCESS], "group_whitelist": [OF_THIS_PROCESS]}
    refused = {
        "name": "refused",
        "bootstrap_servers": kafka.bootstrap_servers,
        "consumer_properties": {**login, "debug": "all"},
        **few,
    }
    good = {
        "name": "good",
        "bootstrap_servers": kafka.bootstrap_servers,
        "consumer_properties": {**secrets, "debug": "all"},
        **few,
    }
    text = config_text([refused, good], {"performance": {"kafka_timeout": "5s"}})
    with running(tmp_path, text, "--log-level", "trace") as program:
        wait_until(lambda: program.get("/ready")[0] == 200, "one cluster answers")
        wait_until(
            lambda: [line for line in program.log() if line.get("cluster") == "refused"],
            "the other is refused",
        )
        program.next_cycle("good")
        pages = [
            program.get(path)[1] for path in ("/", "/metrics", "/ready", "/help", "/group?cluster=good", "/x")
        ]
    for text in (program.output, *pages):
        assert PLANTED not in text


def test_a_crash_tells_where_and_not_with_what(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        config_text(
            [
                {
                    "name": "main",
                    "bootstrap_servers": "127.0.0.1:1",
                    "consumer_properties": {"sasl.password": PLANTED},
                }
            ],
            {"performance": {"kafka_timeout": "200ms"}},
        )
    )
    program = (
        "from klag_trio.services.board import Board\n"
        "async def fails(self, *args): raise RuntimeError('a bug')\n"
        "Board.publish = fails\n"
        "from klag_trio.cli import main\n"
        "main()\n"
    )
    for form in ("json", "text"):
        done = subprocess.run(
            [sys.executable, "-c", program, "-c", str(path), "-l", "trace", "--log-format", form],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert 1 == done.returncode
        assert "RuntimeError: a bug" in done.stderr
        assert PLANTED not in done.stdout + done.stderr


def test_a_secret_in_a_wrong_file_is_not_shown_by_the_program(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for written in (
        f'"{PLANTED}',
        f'["{PLANTED}"]',
        f"{PLANTED}",
        f"{{a = {toml(PLANTED)}}}",
        '"${PLANTED}${',
    ):
        path.write_text(f'[[clusters]]\nconsumer_properties = {{"sasl.password" = {written}}}\n')
        ended = run("-c", str(path), environ={"PLANTED": PLANTED})
        assert 2 == ended.code
        assert PLANTED not in ended.output


def test_it_needs_no_file_that_it_may_write(kafka: Kafka, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    text = config_text([{"name": "main", "bootstrap_servers": kafka.bootstrap_servers}])
    path.write_text(text)
    # Everything that is mounted, but what the kernel itself makes up.
    script = (
        "set -e; mount --make-rprivate /; "
        "awk '$4 ~ /^rw/ && $2 !~ \"^/(proc|sys|dev)(/|$)\" {print $2}' /proc/mounts | while read -r m; do "
        'mount -o remount,bind,ro "$m"; done; '
        'if touch "$0" 2>/dev/null; then echo writable; exit 9; fi; exec "$@"'
    )
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        script,
        str(path),
        *COMMAND,
        "-c",
        str(path),
        "--log-format",
        "json",
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    log_path = tmp_path / "log"
    try:
        wait_until(lambda: '"serving"' in log_path.read_text() or process.poll() is not None, "it serves")
        port = re.search(r'"port": (\d+)', log_path.read_text())
        assert port is not None, log_path.read_text()
        ready = ["curl", "-sf", f"http://127.0.0.1:{port[1]}/ready"]
        wait_until(
            lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, "it is ready"
        )
        page = subprocess.run(
            ["curl", "-sf", f"http://127.0.0.1:{port[1]}/"], capture_output=True, text=True, check=True
        ).stdout
        assert "main" in page
        process.terminate()
        assert 0 == process.wait(20)
    finally:
        process.kill()
        process.wait()
    assert "Read-only" not in log_path.read_text()
