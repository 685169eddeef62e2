"""`python test-stack collector`: build the collector where it is missing, and print where it is."""

from __future__ import annotations

import sys

from stack.collector.build import binary
from stack.golang import BuildError


def main() -> int:
    try:
        print(binary())
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
