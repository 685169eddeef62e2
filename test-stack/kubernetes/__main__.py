"""`python test-stack/kubernetes`: build Kubernetes' programs where missing, and print where they are."""

from __future__ import annotations

import sys
from pathlib import Path

# Run by its folder's name, Python puts the folder itself on the path; the package is one above.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from golang import BuildError  # noqa: E402
from kubernetes.build import programs  # noqa: E402


def main() -> int:
    try:
        print(programs())
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
