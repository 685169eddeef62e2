"""`python -m klag_trio.kafka.limits MODULE`: runs a module with an end to the memory that it may take.

The limits are set before the module's process begins: the C library looks once, at its start, how large the
stacks of threads are to be, and each counts as a whole.
"""

from __future__ import annotations

import os
import resource
import sys

MEMORY_BYTES = 256 * 1024 * 1024
"""What the module may take, its stacks included."""
_STACK_BYTES = 1024 * 1024


def _lower(limit: int, wanted: int) -> None:
    _, hard = resource.getrlimit(limit)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(limit, (most, hard))


if __name__ == "__main__":
    _lower(resource.RLIMIT_DATA, MEMORY_BYTES)
    _lower(resource.RLIMIT_STACK, _STACK_BYTES)
    # It is expected to end by a signal now and then, and whose disk would the cores fill?
    _lower(resource.RLIMIT_CORE, 0)
    os.execv(sys.executable, [sys.executable, "-P", "-m", sys.argv[1]])  # noqa: S606 - no shell is wanted
