"""`klag-trio check`: what works in every cluster, what is missing, and what would mend it."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from klag_trio import app
from klag_trio.config import Config
from klag_trio.domain.mends import mend
from klag_trio.domain.offsets import ClusterUnavailable, Fault
from klag_trio.services.collector import leaves
from klag_trio.services.faults import FaultLog
from klag_trio.services.snapshot import SnapshotReader
from klag_trio.services.stopwatch import Stopwatch


async def check(config: Config, say: Callable[[str], object]) -> bool:
    """Ask every cluster once for all that a cycle asks for; returns whether nothing is amiss.

    Raises:
        StartError: the configuration asks for what cannot be.

    """
    fine = True
    for connection in app.connect(config):
        faults = FaultLog(connection.cluster.name)
        performance = config.exporter.performance
        reader = SnapshotReader(
            connection.admin,
            connection.cluster,
            performance,
            faults,
            keep_seconds=0,
            identify_topics=False,
            wall_clock=time.time,
        )
        found = f"cluster {connection.cluster.name}: "
        troubles: list[tuple[str, str, Fault]] = []
        try:
            snapshot = await reader.snapshot(Stopwatch())
            topics = {tp.topic for tp in snapshot.partitions}
            await reader.cleanup_policies(topics)
            found += (
                f"reached; {len(topics)} topics with {len(snapshot.partitions)} partitions and "
                f"{len(snapshot.groups) + len(snapshot.failed_groups)} groups pass the filters"
            )
        except* ClusterUnavailable as group:
            troubles.extend((exc.stage, "", exc.fault) for exc in leaves(group))
            found += "not reached"
        faults.end_cycle()
        troubles.extend(faults.lasting)
        say(found)
        for stage, subject, fault in troubles:
            hint = mend(stage, fault.code)
            about = f" of {subject}" if subject else ""
            say(
                f"  cannot read {stage}{about}: {fault.message} ({fault.code})"
                + (f"; {hint}" if hint else "")
            )
        fine = fine and not troubles
        with trio.CancelScope(shield=True):
            await connection.client.aclose()
    return fine
