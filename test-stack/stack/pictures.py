"""`make demo-pictures`: runs the demo and takes the pictures of it that the README shows.

It waits until one group is falling behind, one is catching up and one has lost records.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Literal

import attrs
from playwright.sync_api import expect
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI

from stack import ROOT
from stack.browser import chromium
from stack.demo import REFRESH_SECONDS, DemoError, demo
from stack.kafka import StackError
from stack.live import View
from stack.load import GROUPS
from stack.prometheus import PrometheusError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, ViewportSize
    from rich.console import RenderableType

    from stack.demo import Demo

PICTURES = ROOT / "docs" / "pictures"
BEHIND, RECOVERING, LOSSY = "orders-search", "orders-reports", "clicks-report"
TREND_SECONDS = 90.0
"""How long the trends are to be: while they have a point a cycle, a turn is seen at once."""
WAIT_SECONDS = 180.0
FAR = 400
"""Records: more than the group recovers from while the pictures are taken."""
LARGEST = 200_000
"""Bytes of a picture."""
WIDE: ViewportSize = {"width": 1200, "height": 400}
PHONE: ViewportSize = {"width": 390, "height": 400}
TERMINAL_WIDTH, TERMINAL_HEIGHT = 84, 60


@attrs.frozen
class Shot:
    """A page, and how it is looked at."""

    name: str
    path: str
    scheme: Literal["light", "dark"] = "light"
    viewport: ViewportSize = attrs.field(factory=lambda: WIDE)


SHOTS = [
    Shot("groups", ""),
    Shot("group-recovering", f"group?cluster=demo&group={RECOVERING}", "dark"),
    Shot("groups-dark", "", "dark"),
    Shot("group-behind", f"group?cluster=demo&group={BEHIND}"),
    Shot("group-lost", f"group?cluster=demo&group={LOSSY}"),
    Shot("phone", "", "light", PHONE),
]


def main() -> int:
    PICTURES.mkdir(parents=True, exist_ok=True)
    try:
        with demo(Console()) as running, chromium() as browser:
            terminal = Console(
                record=True,
                file=io.StringIO(),
                width=TERMINAL_WIDTH,
                height=TERMINAL_HEIGHT,
                force_terminal=True,
            )
            view = View(terminal, running.addresses, GROUPS)
            print(f"letting trends grow for {TREND_SECONDS:.0f} s, then waiting for the moment", flush=True)
            shown = watch_until_the_moment(browser, running, view)
            # All at once: the moment passes.
            taken = {shot.name: take(browser, running, shot) for shot in SHOTS}
            terminal.print(shown)
            taken["terminal"] = take_terminal(browser, terminal)
        for name, picture in taken.items():
            save(name, picture)
    except (StackError, DemoError, PrometheusError) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def watch_until_the_moment(browser: Browser, running: Demo, view: View) -> RenderableType:
    """Look at the demo until its page shows what the pictures are to; returns the terminal's last look."""
    begun = time.monotonic()
    page = opened(browser, running, SHOTS[0])
    telling = [
        row(page, BEHIND).locator(".spark.rising"),
        row(page, RECOVERING).locator(".spark.falling"),
        row(page, LOSSY).locator('[data-label="Lost"] .bad'),
    ]
    while True:
        shown = view.render(running.metrics())
        took = time.monotonic() - begun
        if took > TREND_SECONDS and all(locator.count() for locator in telling) and still_behind(page):
            page.context.close()
            return shown
        if took > TREND_SECONDS + WAIT_SECONDS:
            raise DemoError(
                "no moment came at which one group falls behind, one recovers and one has lost records"
            )
        # The page refreshes itself meanwhile.
        page.wait_for_timeout(REFRESH_SECONDS * 1000)


def still_behind(page: Page) -> bool:
    """Whether the group that recovers has far to go yet."""
    lag = row(page, RECOVERING).locator('[data-label="Lag"]').inner_text()
    return int(re.sub(r"\D", "", lag)) > FAR


def row(page: Page, group: str) -> Locator:
    return page.locator("tr", has=page.get_by_role("link", name=group, exact=True))


def opened(browser: Browser, running: Demo, shot: Shot) -> Page:
    context = browser.new_context(viewport=shot.viewport, color_scheme=shot.scheme, device_scale_factor=2)
    page = context.new_page()
    page.goto(running.addresses["page"] + shot.path)
    return page


def take(browser: Browser, running: Demo, shot: Shot) -> bytes:
    page = opened(browser, running, shot)
    # Once the script has said so.
    expect(page.get_by_role("status")).to_contain_text("refreshes")
    picture = page.screenshot(full_page=True)
    page.context.close()
    return picture


def take_terminal(browser: Browser, terminal: Console) -> bytes:
    """The terminal's contents as rich draws them, in the machine's own monospaced font."""
    template = re.sub(r"@font-face {{.*?}}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = terminal.export_svg(title="make demo", theme=DIMMED_MONOKAI, code_format=template)
    page = browser.new_page(device_scale_factor=2, viewport=WIDE)
    page.set_content(f"<body style='margin: 0; width: 1200px'>{svg}</body>")
    picture = page.locator("svg").screenshot(omit_background=True)
    page.close()
    return picture


def save(name: str, picture: bytes) -> None:
    """Write a picture in 256 colours; DemoError where it is large all the same."""
    path = PICTURES / f"{name}.png"
    small = subprocess.run(
        ["pngquant", "--strip", "--speed", "1", "-"], input=picture, stdout=subprocess.PIPE, check=True
    ).stdout
    if len(small) > LARGEST:
        raise DemoError(f"{path} has {len(small):,} bytes, more than {LARGEST:,}")
    path.write_bytes(small)
    print(f"{path.relative_to(ROOT)}: {len(small):,} bytes", flush=True)


if __name__ == "__main__":
    sys.exit(main())
