"""Many more elections than each run of the unit tests has time for."""

from __future__ import annotations

import pytest
from tests.unit.domain import test_lease_model as model
from tests.unit.services import test_elector as electors


def test_there_are_never_two_leaders() -> None:
    model.play(1000)


@pytest.mark.parametrize("seed", range(20, 120))
def test_never_two_lead_whatever_the_network_does(seed: int) -> None:
    electors.play(seed)
