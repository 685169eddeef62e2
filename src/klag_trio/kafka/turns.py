"""Which groups are asked about next, so that a coordinator that hangs takes no other's turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence

import attrs

_INT_BITS = 32


@attrs.frozen
class Coordination:
    """Which broker coordinates a group: the leader of one partition of `__consumer_offsets`."""

    leaders: Sequence[int]
    """A broker's id for each partition."""
    is_known: bool = True
    """False where nobody tells the leaders: then these only share the groups out."""

    def coordinator(self, group: str) -> int:
        """The id of the broker; the rule is that of Kafka's GroupCoordinator.partitionFor."""
        number = 0
        units = memoryview(group.encode("utf-16-le", "surrogatepass")).cast("H")
        for unit in units:
            number = number * 31 + unit & 0xFFFFFFFF
        # As String.hashCode, a signed number, and Utils.abs, which takes the least one for 0.
        if number >> (_INT_BITS - 1):
            number = (1 << _INT_BITS) - number
        return self.leaders[number % (1 << (_INT_BITS - 1)) % len(self.leaders)]


@attrs.define
class _Coordinator:
    """One broker's groups."""

    waiting: OrderedDict[str, None] = attrs.field(factory=OrderedDict)
    asked: set[str] = attrs.field(factory=set)
    """Those of which it owes an answer."""
    heard_at: float = 0.0
    """When it answered last or, if that was earlier, when it began to owe answers."""
    has_answered: bool = False


class Turns:
    """Groups in the order in which they are asked about, `most` at a time.

    Those of a coordinator that has owed answers for `patience` seconds without giving any do not count, and
    it is asked about no others until it answers or their time is up. So no more than `most` are under way at
    any coordinator.
    """

    def __init__(
        self, groups: Iterable[str], coordination: Coordination, *, most: int, patience: float
    ) -> None:
        self._coordination = coordination
        self._most = most
        self.patience = patience
        self._coordinators: dict[int, _Coordinator] = {}
        for group in groups:
            self._of(group).waiting[group] = None

    def again(self) -> Turns:
        """Those without an answer from the start: first, at each coordinator, those that it was asked about.

        So a coordinator is asked about the same groups twice, and not about more of them at a time.
        """
        return Turns(self.left(), self._coordination, most=self._most, patience=self.patience)

    def take(self, now: float) -> Iterator[str]:
        """The groups to ask about now, one coordinator's after the other's; they count as asked about."""
        ready = [
            each for each in self._coordinators.values() if not self._is_silent(each, now, self.patience)
        ]
        places = self._most - sum(len(each.asked) for each in ready)
        # Whoever owes least comes first.
        in_turn = deque(sorted((each for each in ready if each.waiting), key=lambda each: len(each.asked)))
        while in_turn and places > 0:
            each = in_turn.popleft()
            if not each.asked:
                each.heard_at = now
            group, _ = each.waiting.popitem(last=False)
            each.asked.add(group)
            places -= 1
            if each.waiting:
                in_turn.append(each)
            yield group

    def answered(self, group: str, now: float) -> None:
        """Take in that an answer came, also to a query over an earlier handle."""
        coordinator = self._of(group)
        coordinator.asked.discard(group)
        coordinator.waiting.pop(group, None)
        coordinator.heard_at = now
        coordinator.has_answered = True

    def timed_out(self, group: str) -> Sequence[str]:
        """Take in that no answer came in time; returns the groups that need not be asked about any more.

        These are those of a coordinator that has not answered at all.
        """
        coordinator = self._of(group)
        coordinator.asked.discard(group)
        if coordinator.has_answered or not self._coordination.is_known:
            return ()
        given_up = list(coordinator.waiting)
        coordinator.waiting.clear()
        return given_up

    def is_held_up(self, now: float, seconds: float) -> bool:
        """Whether a coordinator has owed answers for so long without giving any."""
        return any(self._is_silent(each, now, seconds) for each in self._coordinators.values())

    def left(self) -> list[str]:
        """Those without an answer; of each coordinator, first those that it was asked about."""
        return [group for each in self._coordinators.values() for group in (*each.asked, *each.waiting)]

    def _of(self, group: str) -> _Coordinator:
        return self._coordinators.setdefault(self._coordination.coordinator(group), _Coordinator())

    def _is_silent(self, coordinator: _Coordinator, now: float, seconds: float) -> bool:
        return bool(coordinator.asked) and now - coordinator.heard_at >= seconds
