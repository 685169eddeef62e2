"""The memory of a soak as a picture: an SVG, so that nothing has to be installed to draw it."""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT = 860, 380
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 50, 50
COLOURS = ("#1b6ca8", "#d1495b")
STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000)
TICKS = 6


def draw(found: dict[str, Any]) -> str:
    """Resident memory by cycle, a line for each run."""
    runs = found["runs"]
    cycles = max(sample[0] for run in runs for sample in run["samples"])
    most = max(sample[1] for run in runs for sample in run["samples"]) * 1.1
    across, up = (WIDTH - LEFT - RIGHT) / cycles, (HEIGHT - TOP - BOTTOM) / most
    floor = HEIGHT - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="sans-serif" font-size="12">',
        f"<title>Resident memory over {cycles} cycles</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="13">Resident memory, MiB: {found["topics"]} topics and groups '
        f"made and deleted, a cycle every {found['interval']:g} s, {found['cores']} cores, "
        f"{found['date']}</text>",
    ]
    for mib in ticks(most):
        y = floor - mib * up
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{mib}</text>')
    for cycle in ticks(cycles):
        x = LEFT + cycle * across
        parts.append(f'<text x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{cycle}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 12}" text-anchor="end">cycle</text>')
    for number, (run, colour) in enumerate(zip(runs, COLOURS, strict=True)):
        points = " ".join(f"{LEFT + s[0] * across:.1f},{floor - s[1] * up:.1f}" for s in run["samples"])
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
        name = f"clients recycled every {run['recycle']} cycles" if run["recycle"] else "recycling off"
        parts.append(f'<text x="{LEFT + 10 + 260 * number}" y="40" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(most: float) -> list[int]:
    """At most so many round numbers from 0 on, up to `most`."""
    step = next((step for step in STEPS if most / step <= TICKS), STEPS[-1])
    return list(range(0, int(most) + 1, step))
