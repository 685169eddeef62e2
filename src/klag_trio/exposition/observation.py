"""What was published, for those who want samples and not bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from klag_trio.exposition.samples import Block


@attrs.frozen
class Observation:
    """Samples of one instant."""

    at: float
    """When they held true: seconds since the epoch."""
    blocks: Callable[[], Sequence[Block]] = attrs.field(repr=False)
    """Makes them, which takes a while for a large cluster; nobody keeps them in between."""
