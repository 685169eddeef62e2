"""The image without an engine: its stages made in folders, and klag-trio run from them as process 1."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.broker.waiting import wait_until

from klag_trio import __version__
from stack import ROOT
from stack.image.build import Build, Image, base
from stack.image.dockerfile import ours

CLUSTER = '[[clusters]]\nname = "NAME"\nbootstrap_servers = "127.0.0.1:1"\n'


# librdkafka is built first: two minutes, on 2 cores that have nothing else to do.
takes_long = pytest.mark.timeout(900)
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    folder = tmp_path_factory.mktemp("image")
    yield Build(folder, {"REVISION": REVISION})
    # About 3 GB.
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(stages: Build) -> Image:
    return stages.image("klag-trio")


@pytest.fixture(scope="module")
def kerberos(stages: Build) -> Image:
    return stages.image("kerberos")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def config(folder: Path, name: str) -> tuple[Path, int]:
    port = free_port()
    text = f'[exporter]\nhttp_host = "127.0.0.1"\nhttp_port = {port}\n{CLUSTER.replace("NAME", name)}'
    folder.mkdir()
    (folder / "config.toml").write_text(text)
    folder.chmod(0o755)
    return folder, port


@contextmanager
def container(
    image: Image, *arguments: str, mounts: dict[Path, str]
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running container, and its process 1 as it is seen from outside."""
    command = image.command([*image.entrypoint, *arguments], mounts=mounts)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    first = int(wait_until(lambda: children.read_text().strip(), "process 1"))
    try:
        yield process, first
    finally:
        # Not only the one that started it: the kernel forgets about parents where a process changes its user.
        if process.poll() is None:
            os.kill(first, signal.SIGKILL)
        process.communicate(timeout=30)


def metrics(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except ConnectionRefusedError:
        return ""
    finally:
        connection.close()


def healthy(image: Image, port: int) -> int:
    command = image.command(image.healthcheck, environ={"HEALTH_URL": f"http://127.0.0.1:{port}/health"})
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode


def test_it_runs_as_process_1_without_rights_on_a_read_only_root_and_stops_in_time(
    image: Image, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    folder, port = config(tmp_path / "config", "here")
    with container(image, mounts={folder: "/etc/klag-exporter"}) as (process, first):
        assert 'klag_cluster_up{cluster_name="here"}' in wait_until(lambda: metrics(port), "it serves")
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{first}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert "1" == status["NSpid"].split()[-1]
        assert ["65532"] * 4 == status["Uid"].split()
        assert ["0" * 16] * 3 == [status[name] for name in ("CapEff", "CapPrm", "CapBnd")]
        assert "1" == status["NoNewPrivs"]
        assert 0 == healthy(image, port)
        start = time.monotonic()
        os.kill(first, signal.SIGTERM)
        assert 0 == process.wait(30), process.communicate()[0]
        assert time.monotonic() - start < 5
    assert 0 != healthy(image, port)


def test_app_goes_before_etc(image: Image, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    app, port = config(tmp_path / "app", "in-app")
    etc, _ = config(tmp_path / "etc", "in-etc")
    with container(image, mounts={app: "/app", etc: "/etc/klag-exporter"}):
        assert 'cluster_name="in-app"' in wait_until(lambda: metrics(port), "it serves")


def test_without_a_configuration_it_says_what_is_missing(image: Image) -> None:
    done = subprocess.run(
        image.command(image.entrypoint), capture_output=True, text=True, check=False, timeout=60
    )
    assert 2 == done.returncode
    assert "config.toml: cannot be read" in done.stdout + done.stderr


def test_nothing_in_it_waits_to_be_compiled(image: Image) -> None:
    sources = (image.root / "opt/klag-trio/lib").rglob("*.py")
    missing = [
        file.name
        for file in sources
        if not list((file.parent / "__pycache__").glob(f"{file.stem}.cpython-*.pyc"))
    ]
    # Templates of other Pythons that some libraries carry.
    assert len(missing) < 5, missing


def test_there_is_no_pip_and_no_source_of_ours_left_over(image: Image) -> None:
    assert list((base() / "usr/local").rglob("pip*"))
    assert not list((image.root / "usr/local").rglob("pip*"))
    assert not list((image.root / "opt/klag-trio").rglob("pip*"))
    assert not (image.root / "build").exists()
    assert not (image.root / "tools").exists()


LOGIN = """\
consumer_properties."security.protocol" = "SASL_PLAINTEXT"
consumer_properties."sasl.mechanism" = "GSSAPI"
consumer_properties."sasl.kerberos.principal" = "lag@KLAG.TEST"
consumer_properties."sasl.kerberos.keytab" = "/etc/klag-exporter/lag.keytab"
"""


def checked(image: Image, folder: Path) -> str:
    """What `klag-trio check` says where the configuration asks for a login with Kerberos."""
    folder.chmod(0o755)
    (folder / "config.toml").write_text(f'[exporter]\nperformance.kafka_timeout = "3s"\n{CLUSTER}{LOGIN}')
    command = image.command([*image.entrypoint, "check"], mounts={folder: "/etc/klag-exporter"})
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert 0 != done.returncode
    return done.stdout + done.stderr


def test_a_login_with_kerberos_is_for_the_other_image(image: Image, tmp_path: Path) -> None:
    assert "this librdkafka was built without Kerberos" in checked(image, tmp_path)


@takes_long
def test_the_other_image_asks_for_a_ticket(kerberos: Image, tmp_path: Path) -> None:
    assert 'kinit: Cannot find KDC for realm "KLAG.TEST"' in checked(kerberos, tmp_path)


@takes_long
def test_the_other_image_holds_one_confluent_kafka_and_runs_as_the_same_user(
    image: Image, kerberos: Image
) -> None:
    # The wheel of the usual one has a folder confluent_kafka.libs.
    libraries = [file.name for file in (kerberos.root / "opt/klag-trio").rglob("confluent_kafka[-.]*")]
    assert 1 == len(libraries), libraries
    assert image.user == kerberos.user
    assert (image.entrypoint, image.labels) == (kerberos.entrypoint, kerberos.labels)


def test_it_says_what_it_is(image: Image) -> None:
    prefix = "org.opencontainers.image."
    assert "klag-trio" == image.labels[f"{prefix}title"]
    assert "MIT" == image.labels[f"{prefix}licenses"]
    assert f"docker.io/library/{ours()['runtime'].base}" == image.labels[f"{prefix}base.name"]
    assert __version__ == image.labels[f"{prefix}version"]
    assert REVISION == image.labels[f"{prefix}revision"]


def test_without_a_revision_it_says_that_it_does_not_know() -> None:
    arguments = [item.pairs for item in ours()["runtime"].all("ARG")]
    assert {"REVISION": "unknown"} in arguments


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent.parent.parent / ".cache" / "hadolint" / "bin" / "hadolint"
    done = subprocess.run(
        [str(hadolint), "--format=json", str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [] == json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_dependency_has_a_wheel_for_both_architectures(machine: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--python-version=3.13", f"--dest={tmp_path}"]
    # What the C library of the base image takes.
    command += [f"--platform=manylinux_2_{minor}_{machine}" for minor in (36, 34, 31, 28, 27, 26, 24, 17)]
    command += [f"--platform=manylinux2014_{machine}", "-r", str(ROOT / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert 0 == done.returncode, done.stderr
