"""Limits that are lower than what the clusters need at least, and room that is tried."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.kafka.test_client import clients

from klag_trio import descriptors
from klag_trio.kafka import room
from klag_trio.kafka.room import ensure_room, room_for
from klag_trio.shortage import ShortageError


def test_more_clusters_than_a_limit_of_threads_allows_are_told_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, none = tmp_path / "limit", tmp_path / "none"
    limit.write_text("1000\n")
    none.write_text("max\n")
    limits = {"pids.max": none, "vm.max_map_count": limit, "absent": tmp_path / "absent"}
    monkeypatch.setattr(room, "_LIMITS_OF_THREADS", limits)
    ensure_room(10)
    ensure_room(125)
    with pytest.raises(ShortageError) as caught:
        ensure_room(126)
    assert "126 clusters need at least 1008 threads, and vm.max_map_count is 1000" == str(caught.value)


def test_more_clusters_than_there_are_descriptors_for_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: 1024)
    ensure_room(102)
    with pytest.raises(ShortageError) as caught:
        ensure_room(103)
    assert "103 clusters need at least 1030 open files, and ulimit -n is 1024" == str(caught.value)


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_what_tries_the_room_leaves_nothing_behind() -> None:
    before, of_librdkafka = threads(), clients()
    for _ in range(3):
        with room_for(threads=20, files=20):
            assert (before, of_librdkafka) == (threads(), clients())
