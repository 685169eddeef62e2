from __future__ import annotations

import os
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from klag_trio.files import FileError, load_cert_chain, read_file


def test_a_file_behind_links_and_one_of_proc_are_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "token").write_bytes(b"hunter2")
    (tmp_path / "..data").symlink_to("data")
    (tmp_path / "token").symlink_to("..data/token")
    assert b"hunter2" == read_file(tmp_path / "token")
    assert b"Name:" == read_file(Path("/proc/self/status"))[:5]


def test_a_file_that_is_redirected_to_standard_input_is_read(tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(b"a")
    with (tmp_path / "config").open("rb") as file:
        assert b"a" == read_file(Path(f"/proc/self/fd/{file.fileno()}"))


def refusal(path: Path) -> str:
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    with pytest.raises(FileError) as caught:
        read_file(path, largest=10)
    assert before == set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return str(caught.value)


def test_a_pipe_a_socket_and_a_device_are_no_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        paths = [tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero"), Path(os.devnull)]
        assert {"it is no regular file"} == set(map(refusal, paths))


def test_what_the_system_says_is_told(tmp_path: Path) -> None:
    assert "No such file or directory" == refusal(tmp_path / "none")
    assert "Is a directory" == refusal(tmp_path)
    assert "embedded null" in refusal(Path("a\0b"))


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10))
    assert 10 == len(read_file(tmp_path / "file", largest=10))
    (tmp_path / "file").write_bytes(bytes(11))
    assert "it is larger than 10 bytes" == refusal(tmp_path / "file")


@contextmanager
def descriptors(left: int) -> Iterator[None]:
    """Let this process open so many more, and no other."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(left):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)


# Each takes one, and OpenSSL another.
@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_key_for_which_there_is_no_descriptor_is_an_error_of_ours(left: int) -> None:
    issued = trustme.CA().issue_cert("localhost")
    certificate, key = issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with (
        descriptors(left),
        pytest.raises(FileError, match=r"^it cannot be held in memory: Too many open files$"),
    ):
        load_cert_chain(context, certificate, key, str)
    with descriptors(3):
        load_cert_chain(context, certificate, key, str)


def test_what_is_no_certificate_is_an_error_of_ssl() -> None:
    with pytest.raises(ssl.SSLError):
        load_cert_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), b"none", b"none", str)
