"""`make reliability`: puts what the last runs measured into docs/reliability.md, between its marks."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.faults.table import FAULTS
from tests.soak.table import soak_table

DOCUMENT = Path("docs/reliability.md")
MEASURED = Path(".cache/faults/faults.json")
SOAK = Path(".cache/soak/soak.json")
PICTURE = SOAK.with_suffix(".svg")
PROMISES = {
    "AWAY": "last good, then a gap",
    "PARTLY": "nothing missing",
    "HARMLESS": "nothing missing, always up",
    "ENDS": "exit code 1 and the reason",
}


def main() -> int:
    text = DOCUMENT.read_text()
    for mark, path, table in (("faults", MEASURED, fault_table), ("soak", SOAK, soak_table)):
        if path.exists():
            text = between(text, mark, table(json.loads(path.read_text())))
            print(f"{mark}: from {path}")
    DOCUMENT.write_text(text)
    if PICTURE.exists():
        shutil.copy(PICTURE, DOCUMENT.parent)
    return 0


def between(text: str, mark: str, table: str) -> str:
    """The text with this table between the two marks of that name."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    assert len(pattern.findall(text)) == 1, f"{DOCUMENT} has no place for {mark}"
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", text)


def fault_table(found: dict[str, Any]) -> str:
    """A row for each fault, in the order of the list."""
    order = {fault.name: number for number, fault in enumerate(FAULTS)}
    lines = [
        f"Measured on {found['date']}, {found['cores']} cores, a cycle every {found['poll_interval']:g} s.",
        "",
        "| fault | series | recovery, s | SIGTERM, s | /health p99, ms | other cluster's latest start |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for fault in sorted(found["faults"], key=lambda fault: order.get(fault["fault"], len(order))):
        worst = fault["cadence_worst_percent"]
        cells = (
            fault["fault"],
            PROMISES[fault["effect"]],
            figure(fault["recovery_seconds"]),
            figure(fault["stop_seconds"]),
            figure(fault["health_p99_ms"]),
            "" if worst is None else f"{worst:g} %",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(value: float | None) -> str:
    """A number as it is written in a table; nothing where nothing was to be measured."""
    return "" if value is None else f"{value:g}"


if __name__ == "__main__":
    sys.exit(main())
