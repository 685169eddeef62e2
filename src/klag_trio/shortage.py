"""What the system has no more of: which error says so, and which limit it is about.

Without any large import: `klag_trio.start` needs it before there are any.
"""

from __future__ import annotations

import errno

THREADS = "the system starts no more threads (ulimit -u, pids.max, vm.max_map_count)"
DESCRIPTORS = "the system opens no more files (ulimit -n)"
MEMORY = "the system has no more memory (ulimit -v, memory.max)"

_BY_ERRNO = {
    errno.EMFILE: DESCRIPTORS,
    errno.ENFILE: "the system opens no more files (fs.file-max)",
    errno.ENOMEM: MEMORY,
}


class ShortageError(Exception):
    """The system has no more of something; the message says of what, and which limit that is."""


def shortage(exc: BaseException) -> str | None:
    """What there is no more of, where that is what the error is about; of a group, where one of it is."""
    if isinstance(exc, BaseExceptionGroup):
        return next((said for each in exc.exceptions if (said := shortage(each))), None)
    if isinstance(exc, ShortageError):
        return str(exc)
    if isinstance(exc, MemoryError):
        return MEMORY
    if isinstance(exc, OSError):
        return _BY_ERRNO.get(exc.errno or 0)
    # Python has no class for it.
    if isinstance(exc, RuntimeError) and "can't start new thread" in str(exc):
        return THREADS
    return None
