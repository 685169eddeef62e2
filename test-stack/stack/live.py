"""The demo in a terminal: what is being set up, then groups and partitions as klag-trio serves them."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stack.table import Row, count, partitions, render, rows, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console, RenderableType

BLOCKS = "▁▂▃▄▅▆▇█"
LOOKS, TREND = 160, 20
"""Looks that the trend remembers, and the columns that it shows them in."""
NOTABLE = 0.1
"""Of its highest point: what is less than this is no change."""
STEADY = 0.5
"""Of the way gone up and down: what gets less far than this has no direction."""
COLORS = {"Stable": "green", "Empty": "bright_black", "Dead": "red"}
CHROME = 8
"""Lines around the rows."""


class Steps:
    """Says what is being set up, and how long each step took."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def step(self, doing: str, done: str) -> Iterator[None]:
        """One step: `doing` with a spinner while it lasts, `done` when it is over."""
        start = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(f"{doing} …", soft_wrap=True, highlight=False)
            yield
            return
        with self._console.status(f"{doing} …"):
            yield
        took = time.monotonic() - start
        self._console.print(f"[green]✓[/] {done} [bright_black]{took:.1f} s[/]", highlight=False)

    def skip(self, why: str) -> None:
        """Say what is left out."""
        self._console.print(f"[bright_black]– {why}[/]", soft_wrap=True, highlight=False)  # noqa: RUF001


class View:
    """What is shown of one /metrics answer after the other."""

    def __init__(self, console: Console, addresses: Mapping[str, str], stories: Mapping[str, str]) -> None:
        self._console = console
        self._addresses = addresses
        self._stories = stories
        self._trends: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LOOKS))

    def render(self, metrics: str) -> RenderableType:
        """Lay out the groups, with their partitions where the terminal is high enough for them."""
        groups = rows(metrics)
        parts = partitions(metrics)
        for row in groups:
            if row.lag is not None:
                self._trends[row.group].append(row.lag)
        needed = len(groups) + sum(map(len, parts.values())) + CHROME + len(self._addresses)
        whole = needed <= self._console.height
        table = Table(box=None, pad_edge=False, header_style="bright_black", padding=(0, 2, 0, 0))
        table.add_column("group")
        table.add_column("state" if not whole else "state, member")
        for title in ("lag", "trend", "time lag", "lost"):
            table.add_column(title, justify="left" if title == "trend" else "right")
        if not whole or self._console.width >= 110:
            table.add_column("what it does", style="bright_black", no_wrap=True)
        stories = len(table.columns) > 6
        for row in groups:
            line = [
                Text(row.group, "bold"),
                Text(row.state or "-", COLORS.get(row.state or "", "yellow")),
                Text(count(row.lag), "bold"),
                self._trend(row),
                Text(seconds(row.lag_seconds)),
                Text(count(row.messages_lost), "bold red" if row.messages_lost else "bright_black"),
            ]
            table.add_row(*line, *([self._stories.get(row.group, "")] if stories else []))
            for part in parts.get(row.group, ()) if whole else ():
                lost = count(part.messages_lost) if part.messages_lost else ""
                table.add_row(
                    Text(f"  {part.topic} {part.partition}", "bright_black"),
                    Text(part.client_id, "bright_black"),
                    Text(count(part.lag), "bright_black"),
                    "",
                    Text(seconds(part.lag_seconds), "bright_black"),
                    Text(lost, "red"),
                )
        head = Table.grid(padding=(0, 2, 0, 0))
        for what, address in self._addresses.items():
            head.add_row(Text(what, "bright_black"), Text(address, f"cyan link {address}"))
        return Group("", head, "", table, "", Text("Ctrl-C stops everything", "bright_black"))

    @contextlib.contextmanager
    def live(self) -> Iterator[Live]:
        """Draw over what was drawn before, where there is a terminal."""
        with Live(console=self._console, auto_refresh=False, vertical_overflow="crop") as live:
            yield live

    def plain(self, metrics: str) -> str:
        """What a pipe gets: addresses and groups, line by line."""
        where = "    ".join(f"{what} {address}" for what, address in self._addresses.items())
        return f"{where}    Ctrl-C stops everything\n\n{render(rows(metrics), self._stories)}\n"

    def _trend(self, row: Row) -> Text:
        lags = thinned(self._trends[row.group], TREND)
        highest = max(lags, default=0)
        if not highest:
            return Text(BLOCKS[0] * len(lags), "bright_black")
        bars = "".join(BLOCKS[round(lag / highest * (len(BLOCKS) - 1))] for lag in lags)
        recent = lags[-TREND // 2 :]
        change = recent[-1] - recent[0]
        way = sum(abs(after - before) for before, after in pairwise(recent))
        if abs(change) <= max(NOTABLE * highest, STEADY * way):
            return Text(bars, "bright_black")
        return Text(bars, "red" if change > 0 else "green")


def thinned(values: Sequence[float], most: int) -> list[float]:
    """At most so many of the values, evenly spread, the last one among them."""
    if len(values) <= most:
        return list(values)
    return [values[round((place + 1) * len(values) / most) - 1] for place in range(most)]
