"""Small files to load in tests."""

from __future__ import annotations

from klag_trio.config import Cluster, Config, ConfigError, Exporter, Problem, load_config

CLUSTER = '[[clusters]]\nname = "a"\nbootstrap_servers = "localhost:9092"\n'


def with_exporter(line: str, table: str = "exporter", **environ: str) -> Exporter:
    return load_config(f"{CLUSTER}[{table}]\n{line}\n", environ).exporter


def with_cluster(lines: str, **environ: str) -> Cluster:
    return load_config(CLUSTER + lines + "\n", environ).clusters[0]


def problems(text: str, **environ: str) -> tuple[Problem, ...]:
    """What is wrong with a file; fails where nothing is."""
    try:
        config: Config = load_config(text, environ)
    except ConfigError as exc:
        return exc.problems
    raise AssertionError(f"nothing is wrong with {config}")


def problem(text: str, **environ: str) -> Problem:
    """The only thing that is wrong with a file."""
    (only,) = problems(text, **environ)
    return only


def exporter_problem(line: str, table: str = "exporter", **environ: str) -> Problem:
    return problem(f"{CLUSTER}[{table}]\n{line}\n", **environ)


def cluster_problem(lines: str, **environ: str) -> Problem:
    return problem(CLUSTER + lines + "\n", **environ)
