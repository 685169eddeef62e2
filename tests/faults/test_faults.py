"""Everything that a Kafka estate does to klag-trio, one after the other, with the same checks for each."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from tests.faults import checks
from tests.faults.estate import TARGET, THRESHOLD, TOPIC, Estate, Way, now
from tests.faults.observed import Held, Observed, observed
from tests.faults.table import FAULTS, Effect, Fault

if TYPE_CHECKING:
    from pathlib import Path

CYCLES_DURING = 4
_AT_REST: dict[Way, Held] = {}


def held_at_rest(clusters: Estate, way: Way, folder: Path) -> Held:
    """What a klag-trio holds after a while without any fault; measured once for each way."""
    if way not in _AT_REST:
        with clusters.program(folder / "at-rest", way) as program, observed(program) as seen:
            began = now()
            seen.wait(checks.is_whole, "everything is shown")
            seen.good_cycles(3, since=began)
            _AT_REST[way] = seen.held()
    return _AT_REST[way]


def hold(seen: Observed, fault: Fault, begun: float) -> None:
    """Let the fault last until its effect is seen to the end."""
    if fault.effect is not Effect.AWAY:
        seen.good_cycles(CYCLES_DURING, since=begun, seconds=60)
    elif fault.at_start:
        seen.wait(lambda moment: moment.page.value("kafka_lag_exporter_up") is not None, "the threshold")
    else:
        seen.wait(lambda moment: not moment.rows(TARGET), "its series are gone", THRESHOLD + 20)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault(clusters: Estate, fault: Fault, tmp_path: Path, record: list[checks.Measured]) -> None:
    # The faults before this one may have left all leaders at one broker, which would be another fault.
    clusters.spread_leaders(TOPIC)
    rest = held_at_rest(clusters, fault.way, tmp_path)
    with ExitStack() as programs:
        with ExitStack() as lasting:
            if fault.at_start:
                lasting.enter_context(fault.begin(clusters, None))
            program, stopped = (
                programs.enter_context(clusters.program(tmp_path / name, fault.way))
                for name in ("observed", "stopped")
            )
            seen = programs.enter_context(observed(program))
            other = programs.enter_context(observed(stopped))
            before = seen.moments[0]
            if not fault.at_start:
                other.wait(checks.is_whole, "everything is shown")
                before = seen.wait(checks.is_whole, "everything is shown")
                lasting.enter_context(fault.begin(clusters, seen))
            begun = now()
            hold(seen, fault, begun)
            stop_seconds = checks.stops_in_time(stopped)
            until = now()
        ended = now()
        recovery = checks.recovers(seen, ended)
        checks.leaves_nothing_behind(seen, rest)
        worst = checks.keeps_its_cadence(seen)
        p99 = checks.stays_healthy(seen)
        checks.errors_say_what_happened(seen, fault, before, seen.moments[-1])
        if fault.effect is not Effect.AWAY:
            whole = next(moment for moment in seen.moments if checks.is_whole(moment))
            checks.series_all_stay(seen, whole.at, fault)
        elif fault.at_start:
            checks.was_never_there(seen, until)
        else:
            checks.series_are_last_good_and_then_gone(seen, begun, until, before)
        if fault.check is not None:
            fault.check([moment for moment in seen.since(begun) if moment.at < until], begun)
    record.append(
        checks.Measured(
            fault=fault.name,
            effect=fault.effect.name,
            recovery_seconds=round(recovery, 2),
            stop_seconds=round(stop_seconds, 2),
            health_p99_ms=round(p99, 1),
            cadence_worst_percent=round(worst, 1),
        )
    )
