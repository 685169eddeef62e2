"""`python test-stack/chart fetch`: Helm and the schemas, where they are missing; `write`: what is derived."""

from __future__ import annotations

import sys
from pathlib import Path

# Run by its folder's name, Python puts the folder itself on the path; the package is one above.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from chart.fetch import crds, helm  # noqa: E402
from golang import BuildError  # noqa: E402


def main(command: str = "fetch") -> int:
    try:
        helm()
        crds()
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return 1
    if command == "write":
        from chart.derived import write

        for file in write():
            print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
