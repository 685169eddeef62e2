"""The command line: arguments, messages, exit codes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click
import trio

from klag_trio import __version__, allocator, app, check, interpreter, logs
from klag_trio.config import Config, ConfigError, read_config
from klag_trio.services.server import ListenError

STOPPED, FAULT, WRONG = 0, 1, 2
"""Exit codes: stopped as asked; a fault while running; the command line or the configuration is wrong."""

_config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("config.toml"),
    show_default=True,
    help="The configuration, a TOML file.",
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@_config_option
@click.option(
    "-l",
    "--log-level",
    type=click.Choice(list(logs.LEVELS)),
    default="info",
    show_default=True,
    help="The least severe lines to log.",
)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to log."
)
@click.version_option(__version__, prog_name="klag-trio", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context, path: Path, log_level: str, log_format: logs.LogFormat) -> None:
    """Export the lag of Kafka consumer groups to Prometheus."""
    allocator.keep_little()
    interpreter.stay_responsive()
    logs.configure(log_level, log_format)
    context.obj = path
    if context.invoked_subcommand is None:
        _serve(_read(path))


@main.command("check")
@_config_option
@click.pass_context
def check_command(context: click.Context, path: Path) -> None:
    """Say of every cluster whether it can be reached and which permissions are missing."""
    given = context.get_parameter_source("path") is not click.core.ParameterSource.DEFAULT
    config = _read(path if given else context.obj)
    try:
        fine = trio.run(check.check, config, click.echo)
    except app.StartError as exc:
        _exit(WRONG, str(exc))
    _leave(STOPPED if fine else FAULT)


def _read(path: Path) -> Config:
    try:
        return read_config(path, os.environ)
    except ConfigError as exc:
        _exit(WRONG, *(f"{path}: {line}" for line in str(exc).splitlines()))


def _serve(config: Config) -> NoReturn:
    try:
        trio.run(app.run, config)
    except* app.StartError as group:
        _exit(WRONG, *map(str, group.exceptions))
    except* ListenError as group:
        _exit(FAULT, *map(str, group.exceptions))
    _leave(STOPPED)


def _exit(code: int, *messages: str) -> NoReturn:
    for message in messages:
        click.echo(f"klag-trio: {message}", err=True)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End without tearing down: a thread that is still inside librdkafka would crash it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
