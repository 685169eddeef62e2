"""A real broker, a real exporter and a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from tests.program.program import Program, config_text, running

from stack.browser import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page
    from tests.conftest import Kafka


@attrs.define
class Visitor:
    """Opens pages of one exporter, and keeps what the browser complains of."""

    browser: Browser
    complaints: list[str] = attrs.field(factory=list)
    expected: str = ""
    """What a test expects the browser to complain of, once or at every refresh."""

    def open(self, program: Program, address: str, **options: Any) -> Page:
        """Open an address in a context of its own; `options` are those of the context."""
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.goto(f"http://127.0.0.1:{program.port}{address}")
        return page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    """Whoever leaves has nothing to complain of but what the test expected."""
    visitor = Visitor(browser)
    yield visitor
    for context in browser.contexts:
        context.close()
    assert [] == [said for said in visitor.complaints if not visitor.expected or visitor.expected not in said]


@pytest.fixture(scope="session")
def exporter(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Shows every group of the broker, and a cluster that never answers."""
    clusters = [
        {"name": "main", "bootstrap_servers": kafka.bootstrap_servers},
        {"name": "nowhere", "bootstrap_servers": "127.0.0.1:1"},
    ]
    with running(tmp_path_factory.mktemp("exporter"), config_text(clusters)) as program:
        yield program
