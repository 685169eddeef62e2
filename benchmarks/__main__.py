"""`python -m benchmarks`: latency, side by side with peers, and accuracy."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
import click

from benchmarks import chart, report
from benchmarks.broker import broker, ports
from benchmarks.fill import Filler, FillError
from benchmarks.scenarios import Outcome, side_by_side
from benchmarks.scrape import ScrapeError
from benchmarks.subjects import MODES, Subject, ours, parse_peer, peers_on_path
from benchmarks.trial import Settings
from benchmarks.workload import PRESETS, Workload


def _subjects(modes: tuple[str, ...], peers: tuple[str, ...], on_path: bool) -> list[Subject]:
    try:
        found = [ours(mode) for mode in modes] + [parse_peer(peer) for peer in peers]
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--peer") from exc
    if on_path:
        found += peers_on_path()
    titles = [subject.title for subject in found]
    if not found or len(set(titles)) < len(titles):
        raise click.UsageError(f"to be measured: {', '.join(titles) or 'nothing'}; name each exporter once")
    return found


@click.group()
def main() -> None:
    """Measure exporters on one broker, each as a process of its own."""
    # So that SIGTERM unwinds like Ctrl-C, and everything that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _measuring(command: Any) -> Any:
    """The options that every measuring command has."""
    for option in (
        click.option(
            "--out", type=click.Path(path_type=Path), default=Path(".cache/benchmarks"), show_default=True
        ),
        click.option("--poll", type=float, default=10.0, show_default=True, help="poll_interval, in seconds"),
        click.option("--bootstrap", help="a broker that runs already; without it one is started and filled"),
        click.option(
            "--peers-on-path", "on_path", is_flag=True, help="add every known peer that is installed"
        ),
        click.option("--peer", "peers", multiple=True, metavar="NAME=PORT=COMMAND", help="see README.md"),
        click.option("--no-ours", is_flag=True, help="measure peers only"),
        click.option("--ours", "modes", multiple=True, type=click.Choice(MODES), default=("message",)),
    ):
        command = option(command)
    return command


@main.command()
@_measuring
@click.option("--workload", type=click.Choice(list(PRESETS)), default="L", show_default=True)
@click.option("--topics", type=int, help="instead of the preset's; so are the next four")
@click.option("--partitions", type=int)
@click.option("--records", type=int)
@click.option("--groups", type=int)
@click.option("--group-partitions", type=int)
@click.option("--cycles", type=click.IntRange(1), default=10, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
def latency(
    workload: str,
    cycles: int,
    repeats: int,
    out: Path,
    poll: float,
    bootstrap: str | None,
    on_path: bool,
    peers: tuple[str, ...],
    no_ours: bool,
    modes: tuple[str, ...],
    **numbers: int | None,
) -> None:
    """Cycles, memory, CPU, scrapes and /health of every exporter, side by side."""
    subjects = _subjects(() if no_ours else modes, peers, on_path)
    chosen = _workload(workload, numbers)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, broker(bootstrap) as address:
        settings = Settings(
            bootstrap=address,
            ports=tuple(ports(address)),
            folder=Path(folder),
            whitelist=chosen.whitelist,
            poll_interval=poll,
            cycles=cycles,
            say=_say,
        )
        filler = Filler(address, chosen)
        filler.fill(_say)
        outcome = side_by_side(subjects, filler, settings, repeats)
    _publish(outcome, out, f"latency-{chosen.name}-{time.strftime('%Y%m%d-%H%M%S')}")


@main.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def show(path: Path) -> None:
    """Print and draw again what an earlier run wrote as JSON."""
    _publish(report.read(path), path.parent, path.stem)


def _workload(name: str, numbers: dict[str, int | None]) -> Workload:
    given = {key: value for key, value in numbers.items() if value is not None}
    try:
        return attrs.evolve(PRESETS[name], name="own", **given) if given else PRESETS[name]
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


def _publish(outcome: Outcome, folder: Path, name: str) -> None:
    click.echo("\n" + report.text(outcome))
    written = report.write(outcome, folder, name)
    try:
        chart.draw(outcome, folder / f"{name}.png")
        written.append(folder / f"{name}.png")
    except chart.ChartUnavailableError as exc:
        click.echo(str(exc), err=True)
    click.echo("written: " + ", ".join(map(str, written)))


def _say(line: str) -> None:
    click.echo(line, err=True)


def run() -> None:
    """The command line; faults of the broker or an exporter are one line, not a traceback."""
    try:
        main(prog_name="python -m benchmarks")
    except (FillError, ScrapeError) as exc:
        raise SystemExit(f"benchmarks: {exc}") from exc


if __name__ == "__main__":
    run()
