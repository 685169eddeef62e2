"""Whether the system has room for another librdkafka client, tried before it is made.

librdkafka (up to 2.16 at least) does not survive that a thread cannot be started while it makes a client:
depending on which thread it is, that is an assertion (`rd_kafka_broker_add_logical`), a segmentation fault or
a wait without end. So as many threads as it starts, and a few more, are started and ended right before.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import byref, c_size_t, c_ulong
from pathlib import Path

from klag_trio import descriptors
from klag_trio.shortage import DESCRIPTORS, THREADS, ShortageError, shortage

# What the two librdkafka clients of a cluster start and open, before any broker has answered.
_THREADS_OF_A_CLUSTER = 8
_FILES_OF_A_CLUSTER = 10
# Each thread has a stack, which is a mapping at least.
_LIMITS_OF_THREADS = {
    "pids.max": Path("/sys/fs/cgroup/pids.max"),
    "kernel.threads-max": Path("/proc/sys/kernel/threads-max"),
    "vm.max_map_count": Path("/proc/sys/vm/max_map_count"),
}

_SEMAPHORE_SIZE = 64  # a sem_t has 16 to 32 bytes

# One at a time in a process: what one has tried another would take.
_MAKING = threading.Lock()


def ensure_room(clusters: int) -> None:
    """Tell at once what would be found out after many minutes: that there are more clusters than can be.

    Raises:
        ShortageError: a limit is lower than what so many clusters need at least.

    """
    files = clusters * _FILES_OF_A_CLUSTER
    if files > (most := descriptors.limit()):
        raise ShortageError(f"{clusters} clusters need at least {files} open files, and ulimit -n is {most}")
    threads = clusters * _THREADS_OF_A_CLUSTER
    for name, limit in _limits_of_threads():
        if threads > limit:
            raise ShortageError(f"{clusters} clusters need at least {threads} threads, and {name} is {limit}")


def _limits_of_threads() -> Iterator[tuple[str, int]]:
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    # It is none for root.
    if os.geteuid() != 0 and most != resource.RLIM_INFINITY:
        yield "ulimit -u", most
    for name, path in _LIMITS_OF_THREADS.items():
        # One that cannot be read, or is no number ("max"), is none.
        with suppress(OSError, ValueError):
            yield name, int(path.read_text())


@contextmanager
def room_for(*, threads: int, files: int) -> Iterator[None]:
    """Within this block nobody else makes a client, and there is room for so many threads and open files.

    Raises:
        ShortageError: there is none.

    """
    with _MAKING:
        _try_files(files)
        _try_threads(threads)
        yield


def _try_files(count: int) -> None:
    try:
        # The lowest number that is free; hardly one below is.
        lowest = os.dup(2)
    except OSError as exc:
        raise ShortageError(shortage(exc) or str(exc)) from None
    os.close(lowest)
    if lowest + count > descriptors.limit():
        raise ShortageError(DESCRIPTORS)


def _try_threads(count: int) -> None:
    # Python's own threads end a moment after they have been joined, and would still take the room. These are
    # gone, stack and all, when pthread_join returns.
    libc = ctypes.CDLL(None)
    semaphore = ctypes.create_string_buffer(_SEMAPHORE_SIZE)
    libc.sem_init(semaphore, 0, 0)
    wait = ctypes.cast(libc.sem_wait, ctypes.c_void_p)
    started: list[c_ulong] = []
    try:
        for _ in range(count):
            thread = c_ulong()
            if libc.pthread_create(byref(thread), None, wait, semaphore):
                raise ShortageError(THREADS)
            started.append(thread)
    finally:
        for _ in started:
            libc.sem_post(semaphore)
        for thread in started:
            libc.pthread_join(c_size_t(thread.value), None)
        libc.sem_destroy(semaphore)
