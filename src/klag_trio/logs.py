"""Log lines: to stderr, as text or JSON, one shape for ours and for those of the libraries.

A thread of its own writes them, so that a pipe that is not read holds up nothing else. Lines that find no
room in its queue, and those that cannot be written, are lost and counted.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from typing import Any, Literal

import structlog

LogFormat = Literal["text", "json"]
LEVELS = {"trace": 0, "debug": 10, "info": 20, "warn": 30, "error": 40}

# A second of the most that was seen to be logged at debug level, 10 MB at most.
_QUEUED_LINES = 10_000
# A group's name, for one, may have 32,767.
_CHARACTERS = 1_000


class Log:
    """The way of all lines to stderr. There is one in a process."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._lines: Queue[Any] = Queue(_QUEUED_LINES)
        self.handler = _Queueing(self._lines)
        """Of the standard library's loggers."""
        self.handler.setFormatter(formatter)
        self._writer = _Writer(sys.stderr.fileno(), sys.stderr.encoding)
        QueueListener(self._lines, self._writer).start()

    @property
    def dropped(self) -> int:
        """How many lines were lost."""
        return self.handler.dropped + self._writer.dropped

    def say(self, line: str) -> None:
        """Write a line as it is, if there is room for it."""
        try:
            self._lines.put_nowait(logging.makeLogRecord({"msg": line}))
        except Full:
            self.handler.lose()

    def flush(self, seconds: float) -> None:
        """Wait until all lines are written, so many seconds at most."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, seconds)


class _Queueing(QueueHandler):
    """Formats lines where they are logged, since what they are about may change, and queues them."""

    def __init__(self, lines: Queue[Any]) -> None:
        super().__init__(lines)
        self.dropped = 0
        self._counting = threading.Lock()
        self._full = lines.full

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line. One that finds no room costs nothing: there may be thousands a second."""
        if self._full():
            self.lose()
        else:
            super().emit(record)

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Count a line that found no room after all, or has something in it that cannot be formatted."""
        self.lose()

    def if_there_is_room(
        self, _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Let an event of ours pass, before it costs anything, if its line would find room."""
        if self._full():
            self.lose()
            raise structlog.DropEvent
        return event

    def lose(self) -> None:
        """Count a line; each thread may."""
        with self._counting:
            self.dropped += 1


class _Writer(logging.Handler):
    """Writes lines to a descriptor, for one thread."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._encoding = encoding
        self._torn = False
        """Whether the last line ended in its middle."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Write without the lock, for which the interpreter would wait at its end until somebody reads."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{chr(10) * self._torn}{record.getMessage()}\n"
        encoded = line.encode(self._encoding, "backslashreplace")
        left = memoryview(encoded)
        try:
            while left:
                left = left[self._write(left) :]
        except OSError:
            self.dropped += 1
        self._torn = 0 < len(left) < len(encoded) or (self._torn and len(left) == len(encoded))

    def _write(self, content: memoryview) -> int:
        while True:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:
                # Another process that has the same terminal or pipe may have made it one that does not wait.
                writable = select.poll()
                writable.register(self._descriptor, select.POLLOUT)
                writable.poll()


def configure(level: str, form: LogFormat) -> Log:
    """Set both logging libraries up, once per process."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _cut,
    ]
    rendering: list[structlog.typing.Processor]
    if form == "json":
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        rendering = [_printable, console]
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        foreign_pre_chain=shared,
    )
    log = Log(formatter)
    logging.basicConfig(handlers=[log.handler], level=max(logging.WARNING, LEVELS[level]), force=True)
    # What is logged at all structlog decides, before it costs anything.
    ours = logging.getLogger("klag_trio")
    ours.setLevel(1)
    structlog.configure(
        processors=[
            log.handler.if_there_is_room,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: ours,
        cache_logger_on_first_use=True,
    )
    return log


def _cut(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Give texts an end, of which any client may have chosen the length; tracebacks come later."""
    for name, value in event.items():
        if isinstance(value, str) and len(value) > _CHARACTERS:
            event[name] = f"{value[:_CHARACTERS]}... ({len(value)} characters)"
    return event


def _printable(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Write control characters out: a group may be named after an escape sequence of the terminal."""
    return {
        name: value.encode("unicode_escape").decode()
        if isinstance(value, str) and not value.isprintable()
        else value
        for name, value in event.items()
    }
