"""`python -m benchmarks`: latency, side by side with peers, and accuracy."""

from __future__ import annotations

import contextlib
import functools
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import click
from confluent_kafka import KafkaException

from benchmarks import chart, report, scenarios
from benchmarks.broker import BrokerError, broker, ports
from benchmarks.fill import FillError
from benchmarks.scenarios import Outcome
from benchmarks.scrape import ScrapeError
from benchmarks.subjects import MODES, Subject, ours, parse_peer, peers_on_path
from benchmarks.trial import Settings
from benchmarks.workload import PRESETS, Workload


@attrs.frozen
class Options:
    """What every measuring command is told."""

    subjects: list[Subject]
    bootstrap: str | None
    poll: float
    cycles: int
    repeats: int
    out: Path


@click.group()
def main() -> None:
    """Measure exporters on one broker, each as a process of its own."""
    # So that SIGTERM unwinds like Ctrl-C, and everything that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _measuring(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that every measuring command has, as one value."""

    @functools.wraps(command)
    def wrapped(
        modes: tuple[str, ...],
        no_ours: bool,
        peers: tuple[str, ...],
        on_path: bool,
        bootstrap: str | None,
        poll: float,
        cycles: int,
        repeats: int,
        out: Path,
        **others: object,
    ) -> None:
        subjects = _subjects(() if no_ours else modes, peers, on_path)
        command(options=Options(subjects, bootstrap, poll, cycles, repeats, out), **others)

    folder = click.Path(file_okay=False, path_type=Path)
    choice = click.Choice(MODES)
    for option in (
        click.option("--out", type=folder, default=".cache/benchmarks", show_default=True),
        click.option("--repeats", type=click.IntRange(1), default=3, show_default=True),
        click.option("--cycles", type=click.IntRange(1), default=10, show_default=True),
        click.option("--poll", type=click.FloatRange(1), default=10.0, show_default=True, help="seconds"),
        click.option("--bootstrap", help="a broker that runs; without it one is started"),
        click.option("--peers-on-path", "on_path", is_flag=True, help="all known peers that are installed"),
        click.option("--peer", "peers", multiple=True, metavar="NAME=PORT=COMMAND", help="see README.md"),
        click.option("--no-ours", is_flag=True, help="measure peers only"),
        click.option("--ours", "modes", multiple=True, type=choice, default=("message",), show_default=True),
    ):
        wrapped = option(wrapped)
    return wrapped


@main.command()
@_measuring
@click.option("--workload", type=click.Choice(list(PRESETS)), default="L", show_default=True)
@click.option("--topics", type=int, help="instead of the preset's; so are the next four")
@click.option("--partitions", type=int)
@click.option("--records", type=int)
@click.option("--groups", type=int)
@click.option("--group-partitions", type=int)
def latency(workload: str, options: Options, **numbers: int | None) -> None:
    """Cycles, memory, CPU, scrapes and /health of every exporter, side by side."""
    chosen = _workload(workload, numbers)
    with _settings(options) as settings:
        outcome = scenarios.latency(options.subjects, chosen, settings, options.repeats)
    _publish(outcome, options.out, f"latency-{chosen.name}-{time.strftime('%Y%m%d-%H%M%S')}")


@main.command()
@_measuring
def accuracy(options: Options) -> None:
    """The error of every time lag against the truth, on idle topics and beside live traffic."""
    with _settings(options) as settings:
        outcome = scenarios.accuracy(options.subjects, settings, options.repeats)
    _publish(outcome, options.out, f"accuracy-{time.strftime('%Y%m%d-%H%M%S')}")


@main.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def show(path: Path) -> None:
    """Print and draw again what an earlier run wrote as JSON."""
    _publish(report.read(path), path.parent, path.stem)


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


@contextlib.contextmanager
def _settings(options: Options) -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, broker(options.bootstrap) as address:
        yield Settings(
            bootstrap=address,
            ports=tuple(ports(address)),
            folder=Path(folder),
            poll_interval=options.poll,
            cycles=options.cycles,
            say=_say,
        )


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
    except (BrokerError, FillError, KafkaException, ScrapeError) as exc:
        raise SystemExit(f"benchmarks: {exc}") from exc


if __name__ == "__main__":
    run()
