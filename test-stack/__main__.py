"""`python test-stack NAME ...` runs a program of the package `stack`: kafka, demo, pictures, chart, ..."""

from __future__ import annotations

import runpy
import sys

if __name__ == "__main__":
    if len(sys.argv) < 2 or not sys.argv[1].isidentifier():
        sys.exit(__doc__)
    name = sys.argv.pop(1)
    runpy.run_module(f"stack.{name}", run_name="__main__", alter_sys=True)
