"""As many descriptors as we can use.

Most systems grant 1,024 to begin with, since select(2) cannot look at more: too few for many clients and many
clusters. Nothing in this process calls select: Trio uses epoll, librdkafka poll.
"""

from __future__ import annotations

import resource

UNLIMITED = 2**31
"""What stands for no limit."""

# Some systems grant no more than ten thousand, whatever their limit says.
_USED = 4096
# A cluster of three brokers has about 30.
_USED_PER_CLUSTER = 40


def limit() -> int:
    """How many this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def take_what_is_used() -> None:
    """Raise the limit as far as needs no privilege; to be called before anybody asks for it."""
    _take(_USED)


def take_for_clusters(count: int) -> None:
    """Raise it further where there are very many clusters, of which each has its own."""
    _take(_USED // 2 + count * _USED_PER_CLUSTER)


def _take(wanted: int) -> None:
    if limit() >= wanted:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
