from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[list[EventDict]]:
    """Whatever a client does is no reason to log; a test that expects otherwise empties the list."""
    with capture_logs() as events, caplog.at_level(logging.DEBUG):
        yield events
    assert events == []
    # `caplog.messages` would be those of this phase alone, which has none.
    assert [record.getMessage() for record in caplog.get_records("call")] == []
    assert capfd.readouterr() == ("", "")
