"""Whether everybody can read the pages: axe-core's rules, and narrow screens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique
from tests.browser.test_pages import HOSTILE, behind, seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page
    from tests.browser.conftest import Visitor
    from tests.conftest import Kafka
    from tests.program.program import Program

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
LONG = "a-group-with-a-name-that-goes-on-and-on-" * 5


@pytest.fixture(scope="module")
def addresses(exporter: Program, kafka: Kafka) -> Iterator[dict[str, str]]:
    """Every kind of page, with groups that have something to show."""
    mark = unique("access")
    long, lossy, lively = f"{mark}-{LONG}", f"{mark}-lossy", f"{mark}-lively"
    with KafkaDriver(kafka.bootstrap_servers) as driver:
        topic = behind(driver, long, [90, 0, 12345], written=20_000)
        behind(driver, long, [17])
        behind(driver, f"{mark}-{HOSTILE}", [5])
        driver.delete_records(topic, 1, 20_000)
        driver.commit(lossy, {(topic, 1): 19_000})
        with driver.consuming(lively, [topic], client_id=LONG) as member:
            member.commit({(topic, 0): 20_000})
            seen(exporter, long, lossy, lively)
            yield {
                "list": f"/?find={mark}",
                "group": f"/group?cluster=main&group={long}",
                "member": f"/group?cluster=main&group={lively}",
                "lost": f"/group?cluster=main&group={lossy}",
                "nothing": "/?find=nobody-has-this-name",
                "help": "/help",
                "problem": f"/group?cluster=main&group=no-{LONG}",
            }


KINDS = ["list", "group", "member", "lost", "nothing", "help", "problem"]


def opened(visitor: Visitor, exporter: Program, address: str, **options: Any) -> Page:
    # One of the pages says that there is no such group.
    visitor.expected = "status of 404" if "group=no-" in address else ""
    page = visitor.open(exporter, address, **options)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    return page


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_no_violation(
    addresses: dict[str, str], exporter: Program, visitor: Visitor, kind: str, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 800}
    page = opened(visitor, exporter, addresses[kind], color_scheme=scheme, viewport=size)
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert found["passes"], "axe looked at something"
    assert [] == [
        (rule["id"], [(node["html"], node["failureSummary"]) for node in rule["nodes"]])
        for rule in found["violations"]
    ]


def test_axe_would_find_a_violation(exporter: Program, visitor: Visitor) -> None:
    page = opened(visitor, exporter, "/help")
    page.evaluate("document.querySelector('.prose dd').style.color = '#ddd'")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document)")
    assert "color-contrast" in {rule["id"] for rule in found["violations"]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [320, 390, 768, 900])
def test_nothing_has_to_be_scrolled_sideways(
    addresses: dict[str, str], exporter: Program, visitor: Visitor, kind: str, width: int
) -> None:
    page = opened(visitor, exporter, addresses[kind], viewport={"width": width, "height": 700})
    wide = page.evaluate(
        """() => [...document.querySelectorAll('body *')]
             .filter(e => !e.closest('.unseen, .skip, thead') && e.getBoundingClientRect().right > innerWidth)
             .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert [] == wide
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_different(exporter: Program, visitor: Visitor, scheme: str) -> None:
    page = opened(visitor, exporter, "/", color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(",")))
    assert (brightness > 600) is (scheme == "light")
