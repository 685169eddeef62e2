"""An end to the memory of a process."""

from __future__ import annotations

import ctypes
import resource
import threading

MEMORY_BYTES = 256 * 1024 * 1024
"""What the process may take, the stacks of its threads included."""

# librdkafka has a thread for each broker in each of its clients, and a stack counts as a whole, 8 MiB by
# default. With these, ten readers of a cluster of 75 brokers take 110 MiB; those of musl are as small.
_STACK_BYTES = 128 * 1024
_PYTHON_STACK_BYTES = 1024 * 1024
_ATTRIBUTES_BYTES = 128


def limit_memory() -> None:
    """Let memory end, before any thread starts: where it does, whatever wants more ends the process."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "pthread_setattr_default_np"):  # glibc and musl
        attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(_STACK_BYTES))
        libc.pthread_setattr_default_np(attributes)
    threading.stack_size(_PYTHON_STACK_BYTES)
    _lower(resource.RLIMIT_DATA, MEMORY_BYTES)
    # It is expected to end by a signal now and then, and nobody wants a core of each time.
    _lower(resource.RLIMIT_CORE, 0)


def _lower(limit: int, wanted: int) -> None:
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (wanted if soft == resource.RLIM_INFINITY else min(wanted, soft), hard))
