"""Many more malformed requests than each run of the unit tests has time for."""

from __future__ import annotations

import pytest
from tests.unit.services.raw_http import Address
from tests.unit.services.test_server import send_malformed, small
from trio.testing import MockClock

__all__ = ["small"]

pytestmark = pytest.mark.usefixtures("logged")


@pytest.mark.parametrize("seed", range(2, 12))
async def test_no_bytes_whatever_harm_the_server(small: Address, mock_clock: MockClock, seed: int) -> None:
    await send_malformed(small, seed)
