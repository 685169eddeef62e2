"""The broker under both exporters: one that is named, or a temporary one of test-stack/."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

_TEST_STACK = str(Path(__file__).resolve().parents[1] / "test-stack")
_HEAP = "2g"  # 8,000 partitions


class BrokerError(RuntimeError):
    """No broker could be started."""


@contextlib.contextmanager
def broker(bootstrap: str | None) -> Iterator[str]:
    """Yield bootstrap.servers."""
    if bootstrap is not None:
        yield bootstrap
        return
    if _TEST_STACK not in sys.path:
        sys.path.append(_TEST_STACK)
    from stack.kafka import (  # beside this package, and only needed without --bootstrap
        KafkaCluster,
        StackError,
    )

    try:
        with KafkaCluster(heap=_HEAP) as cluster:
            yield cluster.bootstrap_servers
    except StackError as exc:
        raise BrokerError(str(exc)) from exc


def ports(bootstrap: str) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in bootstrap.split(",")]
