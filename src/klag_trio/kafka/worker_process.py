"""A process of its own, beside each cluster's client, for what librdkafka may not survive.

Three of librdkafka's answers (up to 2.16 at least) hold what any client may have written, and end or fill the
process that reads them:

- Records. A gzip batch whose first member is empty, which brokers take, is an assertion in
  `rd_kafka_msgset_reader_decompress`; and a batch of less than a megabyte can unpack to 900.
- The description of groups of the newer protocol (KIP-848). A member that subscribes to more than 100,000
  names, which brokers take too, is a segmentation fault; and where a group has turned to the classic protocol
  meanwhile, librdkafka goes on to the parser of which `kafka/groups.py` tells.
- The listing of groups: more than 100,000 on one broker are a segmentation fault.

So `kafka/worker.py` runs them in a process that has an end to its memory (`kafka/limits.py`). When it dies,
all that it has answered is kept, another one takes its place, and what it died of is found in halves.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any, TypeVar

import attrs
import structlog
import trio

from klag_trio.domain.offsets import Fault
from klag_trio.domain.time_lag import CRASH, LATE, NO_PROCESS
from klag_trio.stopping import WORKER_SECONDS

T = TypeVar("T")

_COMMAND = (sys.executable, "-P", "-m", "klag_trio.kafka.worker")
# The worker keeps its deadlines itself; this is how late it may be before it is replaced.
_OVERTIME_SECONDS = 2.0
_STARTING_SECONDS = 30.0
_TELL_SECONDS = 600.0
_REASON = 300


class WorkerError(Exception):
    """The worker brought no answer, or not the whole; what came before has been taken."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class WorkerDied(WorkerError):
    """The worker ended; `fresh` where this was the first that it was asked."""

    def __init__(self, fault: Fault, *, fresh: bool) -> None:
        super().__init__(fault)
        self.fresh = fresh


@attrs.define
class _Running:
    """The process and its pipes."""

    process: trio.Process
    requests: trio.abc.SendStream
    replies: trio.abc.ReceiveStream
    words: trio.abc.ReceiveStream
    _lines: deque[bytes] = attrs.field(factory=deque)
    _begun: list[bytes] = attrs.field(factory=list)

    async def send(self, content: object) -> None:
        # In a thread: it may be about 100,000 partitions.
        line = await trio.to_thread.run_sync(json.dumps, content)
        try:
            await self.requests.send_all(line.encode() + b"\n")
        except trio.BrokenResourceError:
            return  # It has ended, as what it says will show.

    async def receive(self) -> tuple[str, list[Any]] | None:
        """What it says next; None where it has ended."""
        while not self._lines:
            received = await self.replies.receive_some()
            if not received:
                return None
            rest, *lines = bytes(received).split(b"\n")
            self._begun.append(rest)
            for line in lines:
                self._lines.append(b"".join(self._begun))
                self._begun = [line]
        kind, content = json.loads(self._lines.popleft())
        return kind, content

    async def end(self) -> str:
        """End it, and return what it wrote to stderr."""
        said = bytearray()
        with trio.CancelScope(shield=True):
            self.process.kill()
            with trio.move_on_after(WORKER_SECONDS):
                await self.process.wait()
                while more := await self.words.receive_some():
                    said += more
            for stream in (self.requests, self.replies, self.words):
                await stream.aclose()
        return said.decode(errors="replace").strip()


class WorkerProcess:
    """The worker of one cluster, started when it is first asked; it answers one request at a time."""

    def __init__(
        self,
        cluster: str,
        asking: Mapping[str, str],
        reading: Mapping[str, str],
        library_log: Callable[[str], None],
    ) -> None:
        """Take librdkafka's properties for questions and for reading; `library_log` gets its lines."""
        self._properties = [asking, reading]
        self._library_log = library_log
        self._log = structlog.get_logger(__name__).bind(cluster=cluster)
        self._told_at = -inf
        self._running: _Running | None = None
        self._turn = trio.Lock()

    async def ask(
        self, take: Callable[..., None], operation: str, *arguments: Any, within: float = 0
    ) -> None:
        """Have the worker do something that takes so many seconds, and take what comes of it as it comes.

        Raises:
            WorkerDied: it ended.
            WorkerError: it could not be started, failed, or did not answer in time.

        """
        async with self._turn:
            fresh = self._running is None
            running = self._running or await self._start()
            try:
                with trio.fail_after(within + _OVERTIME_SECONDS):
                    last = await self._converse(running, take, [operation, *arguments])
            except BaseException as exc:
                # Whatever it says next would be taken for an answer to something else.
                await self._end()
                if isinstance(exc, trio.TooSlowError):
                    raise WorkerError(LATE) from None
                raise
            if last is None:
                raise WorkerDied(await self._bury(running), fresh=fresh)
            if last:
                raise WorkerError(Fault(*last[0]))

    async def rest(self) -> None:
        """Let it give up its connections, if it has any."""
        if self._running is not None:
            try:
                await self.ask(_nothing, "rest")
            except WorkerError:
                return  # with all of its connections

    async def end(self) -> None:
        """End it; the next question starts another one."""
        with trio.CancelScope(shield=True):
            async with self._turn:
                await self._end()

    async def _start(self) -> _Running:
        pipe = subprocess.PIPE
        try:
            # Not to be cancelled, which would leave nobody to end it.
            with trio.CancelScope(shield=True):
                process = await trio.lowlevel.open_process(
                    _COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
                )
        except OSError as exc:
            raise WorkerError(_no_process(str(exc.strerror))) from None
        streams: Any = (process.stdin, process.stdout, process.stderr)
        running = _Running(process, *streams)
        ready = None
        try:
            with trio.move_on_after(_STARTING_SECONDS):
                await running.send(self._properties)
                ready = await running.receive()
        finally:
            if ready is None:
                said = await running.end()
        if ready is None:
            raise WorkerError(_no_process(said.rpartition("\n")[2]))
        self._running = running
        return running

    async def _converse(
        self, running: _Running, take: Callable[..., None], request: object
    ) -> list[Any] | None:
        """Make a request and take what comes.

        Returns what it says in the end, which is nothing or a fault; None where it ended before that.
        """
        await running.send(request)
        while (said := await running.receive()) is not None:
            kind, content = said
            if kind == "end":
                return content
            (self._library_log if kind == "log" else take)(*content)
        return None

    async def _bury(self, running: _Running) -> Fault:
        """End what is left of a worker that ended by itself, and tell of what."""
        self._running = None
        with trio.move_on_after(WORKER_SECONDS):
            await running.process.wait()
        said = await running.end()
        code = running.process.returncode or 0
        if code > 0:
            self._log.error("a bug ended the process that reads", output=said)
        lines = said.splitlines() or [""]
        reason = next((line for line in lines if "ssert" in line), lines[-1])[:_REASON]
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        ended = f"ended with {how}{': ' if reason else ''}{reason}"
        if trio.current_time() - self._told_at > _TELL_SECONDS:
            # It may cost no answer in the end, and so be told by nobody else.
            self._log.warning("the process that reads is replaced", reason=ended)
            self._told_at = trio.current_time()
        return Fault(CRASH, f"the process that reads {ended}")

    async def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.end()


def _no_process(reason: str) -> Fault:
    return Fault(NO_PROCESS, f"no process that reads: {reason}", retriable=True)


def _nothing(*_: object) -> None:
    """Take what says nothing."""


async def in_halves(
    items: Sequence[T],
    ask: Callable[[Sequence[T]], Awaitable[None]],
    is_answered: Callable[[T], bool],
    blame: Callable[[T, Fault], None],
    deadline: float,
) -> None:
    """Ask about all, and where the worker dies about each half of what is left, until the deadline.

    Blamed are those that a fresh worker died of when it was asked about them alone. The larger parts come
    first, so that what is harmless does not wait for that. `deadline` is on `time.monotonic`'s clock.

    Raises:
        WorkerError: it brought no answer, and did not die of what it was asked about.

    """
    waiting = deque([items] if items else [])
    while waiting and monotonic() < deadline:
        part = waiting.popleft()
        try:
            await ask(part)
        except WorkerDied as exc:
            if len(part) == 1 and exc.fresh:
                blame(part[0], exc.fault)
                continue
            left = [item for item in part if not is_answered(item)]
            middle = len(left) // 2
            waiting += [half for half in (left[:middle], left[middle:]) if half]
