"""A board that publishes whatever a test wants."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from itertools import pairwise

import attrs

from klag_trio.exposition.body import Body
from klag_trio.exposition.pages.state import ClusterState, Published

NOW = 1_760_000_000.0


@attrs.define
class FakePublication:
    text: Body
    openmetrics: Body
    unready_because: str | None = None
    leader: bool = True
    states: Sequence[ClusterState] = ()

    def metrics(self, *, openmetrics: bool) -> Body:
        return self.openmetrics if openmetrics else self.text

    def unready(self) -> str | None:
        return self.unready_because

    def is_leader(self) -> bool:
        return self.leader

    def published(self) -> Published:
        return Published(
            version="1.2.3",
            now=NOW,
            leader=self.leader,
            poll_interval=30.0,
            staleness_threshold=90.0,
            clusters=self.states,
        )


def body_of(*chunks: bytes) -> Body:
    plain = b"".join(chunks)
    return Body(chunks=chunks, gzipped=gzip.compress(plain, 1), length=len(plain))


def body_of_size(size: int) -> Body:
    """About as many bytes of samples, in chunks of families as a renderer makes them: of uneven lengths."""
    sample = b'kafka_consumergroup_group_lag{cluster_name="main",group="group-%06d",topic="orders"} 12345\n'
    samples = [sample % number for number in range(size // len(sample % 0))]
    cuts = [0, 1, len(samples) // 3, len(samples) // 2, len(samples)]
    return body_of(*(b"".join(samples[start:end]) for start, end in pairwise(cuts)))


def small_publication() -> FakePublication:
    return FakePublication(body_of(b"text 1\n", b"text 2\n"), body_of(b"openmetrics 1\n", b"# EOF\n"))


def large_publication(size: int) -> FakePublication:
    body = body_of_size(size)
    return FakePublication(body, body)
