"""`python test-stack kubernetes`: build Kubernetes' programs where missing, and print where they are."""

from __future__ import annotations

import sys

from stack.golang import BuildError
from stack.kubernetes.build import programs


def main() -> int:
    try:
        print(programs())
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
