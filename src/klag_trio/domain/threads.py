"""How the threads for Kafka calls are shared out over the clusters."""

from __future__ import annotations

import attrs

# A cycle has at most four calls under way at once, and none of them may wait for one that hangs.
_LEAST_ADMIN = 4
# Some wait out abandoned calls.
_MOST_ADMIN = 8


@attrs.frozen
class Threads:
    """The threads of one cluster."""

    admin: int
    """For questions."""
    readers: int
    """For reading records; 0 where none are read."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.admin + self.readers


def share(total: int, *, clusters: int, readers: int) -> Threads:
    """The threads of each of so many clusters, of `total` in all, at most `readers` of each for reading.

    No cluster gets fewer than it needs, even where that makes more than `total`.
    """
    least_readers = min(1, readers)
    each = max(_LEAST_ADMIN + least_readers, total // clusters)
    admin = min(_MOST_ADMIN, max(_LEAST_ADMIN, each // 2 if readers else each))
    return Threads(admin, min(readers, each - admin))
