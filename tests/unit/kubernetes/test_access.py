"""How the API server is found, and what is said where it is not."""

from __future__ import annotations

import base64
import errno
import os
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from klag_trio.kubernetes.access import Access, AccessError, find_access
from klag_trio.kubernetes.leases import KubernetesLeases, LeaseUnavailable

SERVER = "https://127.0.0.1:6443"


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "1"]
    subprocess.run(
        [*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True
    )
    return folder


def kubeconfig(folder: Path, user: Mapping[str, Any], cluster: Mapping[str, Any] | None = None) -> Path:
    path = folder / "kubeconfig"
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": SERVER, **(cluster or {})}}],
        "users": [{"name": "u", "user": dict(user)}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def access(path: Path) -> Access:
    return find_access({"KUBECONFIG": str(path)})


def refusal(path: Path) -> str:
    with pytest.raises(AccessError) as caught:
        access(path)
    return str(caught.value)


def service_account(folder: Path, pem: Path) -> Path:
    (folder / "token").write_text("first\n")
    (folder / "ca.crt").write_text((pem / "cert.pem").read_text())
    return folder


def test_in_a_pod_it_is_the_service_account_whose_token_is_read_each_time(tmp_path: Path, pem: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    found = find_access(environ, service_account=service_account(tmp_path, pem), home=tmp_path)
    assert "https://10.0.0.1:6443" == found.server
    assert "first" == found.token()
    (tmp_path / "token").write_text("second")
    assert "second" == found.token()
    (tmp_path / "token").unlink()
    with pytest.raises(AccessError, match="token: cannot be read: No such file"):
        found.token()
    assert ssl.CERT_REQUIRED == found.tls().verify_mode


def test_an_ipv6_address_gets_its_brackets(tmp_path: Path, pem: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1"}
    found = find_access(environ, service_account=service_account(tmp_path, pem), home=tmp_path)
    assert "https://[fd00::1]:443" == found.server


def test_kubeconfig_goes_before_the_service_account(tmp_path: Path, pem: Path) -> None:
    environ = {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "KUBECONFIG": str(kubeconfig(tmp_path, {"token": "t"})),
    }
    found = find_access(environ, service_account=service_account(tmp_path, pem), home=tmp_path)
    assert SERVER == found.server


def test_outside_of_a_cluster_it_is_the_kubeconfig_at_home(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path, {"token": "t"}).rename(tmp_path / ".kube" / "config")
    assert SERVER == find_access({}, service_account=tmp_path / "none", home=tmp_path).server


def test_without_any_of_them_the_message_names_all_three(tmp_path: Path) -> None:
    with pytest.raises(AccessError) as caught:
        find_access({}, service_account=tmp_path / "none", home=tmp_path)
    for word in (str(tmp_path / "none"), "KUBECONFIG", str(tmp_path / ".kube" / "config")):
        assert word in str(caught.value)


def test_a_token_may_be_in_a_file_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    assert "from-file" == access(kubeconfig(tmp_path, {"tokenFile": "token"})).token()


def test_certificates_may_be_in_files_or_in_place(tmp_path: Path, pem: Path) -> None:
    (tmp_path / "cert.pem").write_bytes((pem / "cert.pem").read_bytes())
    key = base64.b64encode((pem / "key.pem").read_bytes()).decode()
    user = {"client-certificate": "cert.pem", "client-key-data": key}
    found = access(kubeconfig(tmp_path, user, {"certificate-authority": "cert.pem", "tls-server-name": "k"}))
    assert found.token() is None
    assert 1 == len(found.tls().get_ca_certs())
    assert "k" == found.server_name


def test_of_several_files_the_first_that_says_a_thing_counts(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    first, second = tmp_path / "sub" / "kubeconfig", kubeconfig(tmp_path, {"token": "second"})
    (tmp_path / "sub" / "token").write_text("first")
    first.write_text(yaml.safe_dump({"users": [{"name": "u", "user": {"tokenFile": "token"}}]}))
    found = find_access({"KUBECONFIG": f"{first}:{second}:{tmp_path / 'missing'}"})
    assert (SERVER, "first") == (found.server, found.token())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("exec", {"command": "aws", "args": ["eks", "get-token"]}),
        ("auth-provider", {"name": "gcp"}),
        ("username", "admin"),
        ("as", "somebody"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, key: str, value: object) -> None:
    message = refusal(kubeconfig(tmp_path, {"token": "t", key: value}))
    assert f"user u: {key}: is not supported: use a token, a tokenFile or a client certificate" in message


@pytest.mark.parametrize(
    ("user", "cluster", "expected"),
    [
        ({}, {"server": "10.0.0.1"}, "cluster c: server: expected a URL with https or http"),
        ({}, {"proxy-url": "http://p:1"}, "cluster c: proxy-url: is not supported"),
        ({}, {"certificate-authority": "none.pem"}, "none.pem: cannot be read: No such file or directory"),
        ({}, {"certificate-authority-data": "?"}, "certificate-authority-data: is not base64 of a PEM file"),
        ({}, {"certificate-authority-data": "aGVsbG8="}, "is no certificate in PEM"),
        ({"tokenFile": "none"}, {}, "none: cannot be read: No such file or directory"),
        ({"token": 7}, {}, "user u: token: expected a string"),
        ({"token": "é"}, {}, "user u: token: is no token: expected one word of printable ASCII"),
        ({"token": "hunter2\nhunter3"}, {}, "user u: token: is no token"),
        ({"client-certificate-data": "aGk="}, {}, "client-certificate and client-key go together"),
        (
            {"client-certificate-data": "aGk=", "client-key-data": "aGk="},
            {},
            "client-certificate and client-key are no pair in PEM without a password",
        ),
    ],
)
def test_each_mistake_is_named(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], expected: str
) -> None:
    assert expected in refusal(kubeconfig(tmp_path, user, cluster))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("token: [hunter2", "is not YAML"),
        pytest.param("token: " + "[" * 5000, "is not YAML", id="deep"),
        ("hunter2: 2024-99-99", "is not YAML"),
        ("- hunter2", "expected a table"),
        ("users: []", "has no current-context"),
        ("current-context: x", "has no context named x"),
        ("current-context: x\ncontexts: [{name: x, context: hunter2}]", "context x: expected a table"),
        ("current-context: x\ncontexts: [{name: x, context: {user: u}}]", "has no cluster named None"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_named_and_not_quoted(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    message = refusal(path)
    assert expected in message
    assert str(path) in message
    assert "hunter2" not in message


def test_a_kubeconfig_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "none")


def test_pipes_are_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert f"kubeconfig {tmp_path / 'pipe'}: cannot be read: it is no regular file" == refusal(
        tmp_path / "pipe"
    )
    assert "pipe: cannot be read: it is no regular file" in refusal(
        kubeconfig(tmp_path, {"tokenFile": "pipe"})
    )
    assert "pipe: cannot be read: it is no regular file" in refusal(
        kubeconfig(tmp_path, {"token": "t"}, {"certificate-authority": "pipe"})
    )


def with_certificate(folder: Path, pem: Path) -> Path:
    """A kubeconfig with both parts in place, so that nothing else is read."""
    parts = {"client-certificate-data": "cert.pem", "client-key-data": "key.pem"}
    data = {key: base64.b64encode((pem / name).read_bytes()).decode() for key, name in parts.items()}
    return kubeconfig(folder, data)


def test_a_key_is_shown_without_a_folder_for_temporary_files(
    tmp_path: Path, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As tempfile has it where the root is read-only or full.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert access(with_certificate(tmp_path, pem)).tls() is not None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ENOSYS])
async def test_a_key_that_cannot_be_held_in_memory_is_told_and_no_end(
    tmp_path: Path, pem: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = with_certificate(tmp_path, pem)
    found = access(path)

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.memfd_create", refuse)
    problem = f"user u: client-key: it cannot be held in memory: {os.strerror(number)}"
    assert f"kubeconfig {path}: {problem}" == refusal(path)
    # Later, at a connection that is made again.
    with pytest.raises(LeaseUnavailable, match=problem):
        await KubernetesLeases(found, namespace="default", name="klag-trio").read()


def test_nothing_secret_is_in_a_repr(tmp_path: Path) -> None:
    assert "hunter2" not in repr(access(kubeconfig(tmp_path, {"token": "hunter2"})))


def test_white_space_around_a_token_is_not_part_of_it(tmp_path: Path) -> None:
    assert "hunter2" == access(kubeconfig(tmp_path, {"token": "hunter2\n"})).token()


def test_a_token_that_is_none_is_not_shown(tmp_path: Path) -> None:
    assert "hunter" not in refusal(kubeconfig(tmp_path, {"token": "hunter2\nhunter3"}))


def forbidden(path: Path) -> bool:
    raise PermissionError(13, "Permission denied")


def test_a_kubeconfig_in_a_folder_that_may_not_be_entered_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kubeconfig(tmp_path, {"token": "t"})
    monkeypatch.setattr(Path, "exists", forbidden)
    assert f"kubeconfig {path}: cannot be read: Permission denied" == refusal(path)


def test_a_home_that_may_not_be_entered_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_file", forbidden)
    with pytest.raises(AccessError, match=r"no KUBECONFIG and no .*/\.kube/config"):
        find_access({}, home=tmp_path)


def test_a_user_that_the_machine_does_not_know_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(AccessError, match=r"no KUBECONFIG and no ~/\.kube/config"):
        find_access({})
