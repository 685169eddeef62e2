"""The figures of a soak as a table for a document."""

from __future__ import annotations

from typing import Any


def soak_table(found: dict[str, Any]) -> str:
    """A row for each run."""
    lines = [
        f"Measured on {found['date']}, {found['cores']} cores, a cycle every {found['interval']:g} s; "
        f"{found['topics']} topics and as many groups came and went.",
        "",
        "| clients | cycles | failed | MiB resident early on | at the end | growth | threads | descriptors |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in found["runs"]:
        early, end = run["early"], run["end"]
        cells = (
            f"recycled every {run['recycle']} cycles" if run["recycle"] else "never recycled",
            str(run["cycles"]),
            str(run["failed"]),
            f"{early['resident_mib']:.1f}",
            f"{end['resident_mib']:.1f}",
            f"{end['resident_mib'] / early['resident_mib'] - 1:.1%}",
            f"{early['threads']}, {end['threads']}",
            f"{early['descriptors']}, {end['descriptors']}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
