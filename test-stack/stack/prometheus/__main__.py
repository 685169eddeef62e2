"""`python test-stack prometheus`: build the one that takes OTLP where it is missing, and say where it is."""

from __future__ import annotations

import sys

from stack.golang import BuildError

from .build import with_otlp


def main() -> int:
    try:
        print(with_otlp())
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
