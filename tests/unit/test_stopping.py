"""The parts of a stop, together."""

from __future__ import annotations

from klag_trio import stopping

# What the rest of a stop computes, on a machine that is busy with something else.
SLACK_SECONDS = 0.5


def test_a_stop_in_which_everything_hangs_is_over_in_time() -> None:
    assert stopping.longest() <= stopping.PROMISED_SECONDS - SLACK_SECONDS
