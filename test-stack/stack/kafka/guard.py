"""Runs one command and ends it when the process that asked for it is gone.

Started as `guard.py FOLDER COMMAND...` with a pipe as standard input: as long as the other end is open the
command runs. When it closes, however its owner died, the command is killed and FOLDER removed. A parent
death signal alone would not do: it comes when the thread that started the command ends, and tests start
brokers from worker threads. The guard's main thread lives as long as the guard, so it is the right parent.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1


def main() -> int:
    folder, *command = sys.argv[1:]
    libc = ctypes.CDLL(None)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    orphaned = threading.Event()

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        orphaned.set()
        process.kill()

    threading.Thread(target=watch, daemon=True).start()
    print(process.pid, flush=True)
    code = process.wait()
    if orphaned.is_set():
        shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
