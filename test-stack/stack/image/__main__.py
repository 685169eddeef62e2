"""`python test-stack image TARGET FOLDER`: make a stage of the Dockerfile; without arguments, its base."""

from __future__ import annotations

import sys
from pathlib import Path

from stack.image.build import Build, BuildError, base


def main(target: str = "", folder: str = "") -> int:
    try:
        print(Build(Path(folder)).image(target).root if target else base())
    except BuildError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
