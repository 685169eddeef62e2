"""`python test-stack chart fetch`: Helm and the schemas, where they are missing; `write`: what is derived."""

from __future__ import annotations

import sys

from stack.chart.fetch import crds, helm
from stack.golang import BuildError


def main(command: str = "fetch") -> int:
    try:
        helm()
        crds()
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return 1
    if command == "write":
        from stack.chart.derived import write

        for file in write():
            print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
