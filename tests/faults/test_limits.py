"""What the machine does not give: the HTTP port, and descriptors."""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING

import pytest
from tests.faults import checks
from tests.faults.estate import POLL, TARGET, Estate, Way, now
from tests.faults.observed import observed
from tests.program.program import config_text, run, running

if TYPE_CHECKING:
    from pathlib import Path

FEW = 64
# While its first readers take what there is, a new connection has to wait for its descriptor.
WITHOUT_A_DESCRIPTOR = 3.0


@pytest.mark.timeout(120)
def test_a_taken_port_is_said_and_ends_it_and_a_free_one_is_taken_at_once(
    clusters: Estate, tmp_path: Path, record: list[checks.Measured]
) -> None:
    path = tmp_path / "taken.toml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        target = {"name": TARGET, "bootstrap_servers": clusters.target.bootstrap_servers}
        text = config_text([target], {"http_port": port})
        path.write_text(text)
        ended = run("-c", str(path))
    assert ended.code == 1
    assert f"127.0.0.1:{port}" in ended.output
    assert "Traceback" not in ended.output
    freed = now()
    with running(tmp_path, text) as program:
        assert port == program.port
        recovery = now() - freed
        stop_seconds = checks.stops_in_time(program)
    record.append(
        checks.Measured(
            fault="the HTTP port is taken",
            effect="ENDS",
            recovery_seconds=round(recovery, 2),
            stop_seconds=round(stop_seconds, 2),
            health_p99_ms=None,
            cadence_worst_percent=None,
        )
    )


@pytest.mark.timeout(120)
def test_64_descriptors_are_enough_for_two_clusters(
    clusters: Estate, tmp_path: Path, record: list[checks.Measured]
) -> None:
    few = ["prlimit", f"--nofile={FEW}:{FEW}"]
    with (
        clusters.program(tmp_path / "few", Way.DIRECT, within=few) as program,
        observed(program) as seen,
    ):
        assert (FEW, FEW) == resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE)
        whole = seen.wait(checks.is_whole, "everything is shown")
        seen.good_cycles(5, since=now(), seconds=5 * POLL + 20)
        worst = checks.keeps_its_cadence(seen)
        p99 = checks.stays_healthy(seen, slowest=WITHOUT_A_DESCRIPTOR)
        assert {whole.rows(TARGET)} == {moment.rows(TARGET) for moment in seen.since(whole.at)}
        assert {} == seen.moments[-1].errors(TARGET)
        stop_seconds = checks.stops_in_time(program)
    record.append(
        checks.Measured(
            fault=f"no more than {FEW} descriptors",
            effect="HARMLESS",
            recovery_seconds=None,
            stop_seconds=round(stop_seconds, 2),
            health_p99_ms=round(p99, 1),
            cadence_worst_percent=round(worst, 1),
        )
    )
