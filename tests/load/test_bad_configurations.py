"""Ten thousand wrong files of each kind, read as the command line reads them, and a few by the program."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import cast

import pytest
from tests.load.mutations import mutations

from klag_trio import cli, ending, logs
from klag_trio.config import ConfigError
from klag_trio.config.web import load_web_config

WRONG = 10_000
CHUNKS = 10
CONFIG = b"""\
[exporter]
poll_interval = "30s"
http_host = "127.0.0.1"
http_port = 9999
granularity = "partition"
[exporter.timestamp_sampling]
enabled = true
mode = "rate"
rate_min_msgs_per_sec = 0.5
[exporter.performance]
kafka_timeout = "1m 30s"
max_concurrent_groups = ${A:-5}
[[clusters]]
name = "main"
bootstrap_servers = "127.0.0.1:1,[::1]:9092"
group_whitelist = ["^a", 'b\\d+$']
labels = { env = "${A}", team = "x" }
[clusters.consumer_properties]
"sasl.password" = "hunter2"
"socket.timeout.ms" = 5000
"""
WEB = b"""\
tls_server_config:
  cert_file: server.crt
  key_file: "server.key"
  client_ca_file: ca.pem
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [a.example, 10.0.0.1]
  min_version: TLS12
  cipher_suites:
    - TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
http_server_config:
  http2: true
  headers: {X-Frame-Options: deny}
basic_auth_users:
  ann: $2y$10$AAAAAAAAAAAAAAAAAAAAA.BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB
"""


def clear(line: str) -> bool:
    """One printable line that says something."""
    return line.isprintable() and len(line) > 15 and "Traceback" not in line and "Error(" not in line


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "7")
    monkeypatch.delenv("NOT_SET", raising=False)


class ToStderr:
    """A log without a thread."""

    def say(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")

    def flush(self, _seconds: float) -> None:
        pass


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> logs.Log:
    """What the command line writes to, where it ends by SystemExit."""
    monkeypatch.setattr(os, "_exit", sys.exit)
    return cast(logs.Log, ToStderr())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(CHUNKS))
def test_every_wrong_configuration_ends_with_2_and_a_clear_line_for_each_mistake(
    tmp_path: Path, log: logs.Log, capsys: pytest.CaptureFixture[str], environ: None, seed: int
) -> None:
    path = tmp_path / "config.toml"
    wrong = 0
    for content in mutations(CONFIG, random.Random(seed)):
        path.write_bytes(content)
        try:
            cli._read(path, log)
        except SystemExit as end:
            assert ending.WRONG == end.code, content  # noqa: PT017 - most end so, not all
            # Not splitlines, which takes more than a line feed for an end of line.
            said = capsys.readouterr().err.removesuffix("\n").split("\n")
            for line in said:
                assert line.startswith(f"klag-trio: {path}: "), content
                assert clear(line), (line, content)
            wrong += 1
            if wrong == WRONG // CHUNKS:
                break


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(CHUNKS))
def test_every_wrong_web_config_is_told_in_a_clear_line_for_each_mistake(seed: int) -> None:
    wrong = 0
    for content in mutations(WEB, random.Random(seed)):
        try:
            load_web_config(content.decode("utf-8", "replace"), Path("/etc"))
        except ConfigError as exc:
            assert exc.problems, content  # noqa: PT017 - most do, not all
            for problem in exc.problems:
                assert clear(str(problem)), (str(problem), content)
            wrong += 1
            if wrong == WRONG // CHUNKS:
                break


def test_the_program_itself_ends_with_2_and_no_traceback(
    tmp_path: Path, log: logs.Log, environ: None
) -> None:
    files: list[Path] = []
    for content in mutations(CONFIG, random.Random(99)):
        path = tmp_path / f"{len(files)}.toml"
        path.write_bytes(content)
        try:
            cli._read(path, log)
        except SystemExit:
            files.append(path)
        if len(files) == 8:
            break
    ends = [run("-c", str(path)) for path in files]
    good = tmp_path / "good.toml"
    good.write_bytes(CONFIG)
    for number, content in enumerate(islice(_wrong_web_configs(), 8)):
        web = tmp_path / f"{number}.yml"
        web.write_bytes(content)
        ends.append(run("-c", str(good), "--web.config.file", str(web)))
    for code, said in ends:
        assert (2, True) == (code, all(map(clear, said.splitlines()))), said


def _wrong_web_configs() -> list[bytes]:
    found = []
    for content in mutations(WEB, random.Random(99)):
        try:
            load_web_config(content.decode("utf-8", "replace"), Path("/etc"))
        except ConfigError:
            found.append(content)
        if len(found) == 8:
            return found
    raise AssertionError


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "klag_trio", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr
