"""Waiting until nothing goes on any more."""

from __future__ import annotations

from collections.abc import Iterator

import trio
from trio.testing import wait_all_tasks_blocked


async def settled() -> None:
    """Every task waits for something that is no thread; the kernel has passed on what was sent."""
    while True:
        await wait_all_tasks_blocked(0.02)
        root = trio.lowlevel.current_root_task()
        assert root is not None
        if not any(map(_waits_for_a_thread, _with_children(root))):
            return


def _with_children(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _with_children(child)


def _waits_for_a_thread(task: trio.lowlevel.Task) -> bool:
    """For trio.testing it is blocked, and for a busy machine it may be so for long."""
    return any(frame.f_code.co_name == "to_thread_run_sync" for frame, _ in task.iter_await_frames())
