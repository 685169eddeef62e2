"""The command line: arguments, messages, exit codes."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import attrs
import click
import structlog
import trio

from klag_trio import __version__, allocator, app, check, descriptors, interpreter, logs
from klag_trio.config import Config, ConfigError, read_config
from klag_trio.connections import HostError, StartError
from klag_trio.ending import FAULT, STOPPED, WRONG, cannot_print
from klag_trio.shortage import shortage
from klag_trio.stopping import LOG_SECONDS
from klag_trio.web.listening import ListenError

_CONFIGS = (Path("config.toml"), Path("/etc/klag-exporter/config.toml"))

_config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=lambda: default_config(),
    show_default="config.toml, else /etc/klag-exporter/config.toml",
    help="The configuration, a TOML file.",
)


def default_config() -> Path:
    """The first of the usual places that has a file; the first of them all where none has.

    In the image that is /app/config.toml, else /etc/klag-exporter/config.toml.
    """
    return next((path for path in _CONFIGS if path.is_file()), _CONFIGS[0])


def _host_and_port(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    """Part HOST:PORT; the host may be missing, which means every address, or stand in brackets."""
    if value is None:
        return None
    host, colon, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise click.BadParameter("expected HOST:PORT, such as 0.0.0.0:8001, [::]:8001 or :8001")
    return host or "::", int(port)


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
@click.option(
    "--web.config.file",
    "web_config",
    type=click.Path(path_type=Path),
    help="TLS and basic auth for what is served, a YAML file as Prometheus's exporters take it.",
)
@click.option(
    "--web.probe-listen-address",
    "probes",
    metavar="HOST:PORT",
    callback=_host_and_port,
    help="A plain listener of its own for /health and /ready.",
)
@click.version_option(__version__, prog_name="klag-trio", message="%(prog)s %(version)s")
@click.pass_context
def main(
    context: click.Context,
    path: Path,
    log_level: str,
    log_format: logs.LogFormat,
    web_config: Path | None,
    probes: tuple[str, int] | None,
) -> None:
    """Export the lag of Kafka consumer groups to Prometheus."""
    allocator.keep_little()
    descriptors.take_what_is_used()
    interpreter.stay_responsive()
    if context.invoked_subcommand and _is_default(context, "log_level"):
        # It says all that it finds; the log would only say it again.
        log_level = "error"
    context.obj = _Outer(path, logs.configure(log_level, log_format))
    if context.invoked_subcommand is None:
        _serve(path, app.Web(web_config, probes), context.obj.log)


@attrs.frozen
class _Outer:
    """What all commands share."""

    path: Path
    log: logs.Log


@main.command("check")
@_config_option
@click.pass_context
def check_command(context: click.Context, path: Path) -> None:
    """Say of every cluster whether it can be reached and which permissions are missing."""
    outer: _Outer = context.obj
    # One that is stopped has not found out.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    config = _read(outer.path if _is_default(context, "path") else path, outer.log)
    try:
        fine = trio.run(check.check, config, _print)
    except StartError as exc:
        _exit(outer.log, WRONG, str(exc))
    except (HostError, _PrintError) as exc:
        _exit(outer.log, FAULT, str(exc))
    except Exception as exc:
        if missing := shortage(exc):
            _exit(outer.log, FAULT, missing)
        raise
    _leave(outer.log, STOPPED if fine else FAULT)


class _PrintError(Exception):
    """The report does not reach its reader."""


def _print(line: str) -> None:
    try:
        click.echo(line)
    except OSError as exc:  # a disk that is full, or a pipe that nobody reads any more
        raise _PrintError(cannot_print(exc)) from None


def _is_default(context: click.Context, parameter: str) -> bool:
    return context.get_parameter_source(parameter) is click.core.ParameterSource.DEFAULT


def _read(path: Path, log: logs.Log) -> Config:
    try:
        return read_config(path, os.environ)
    except ConfigError as exc:
        _exit(log, WRONG, *(f"{path}: {line}" for line in str(exc).splitlines()))


def _serve(path: Path, web: app.Web, log: logs.Log) -> NoReturn:
    config = _read(path, log)
    try:
        trio.run(app.run, config, web, lambda: log.dropped)
    except* StartError as group:
        _exit(log, WRONG, *map(str, group.exceptions))
    except* ConfigError as group:
        lines = [line for exc in group.exceptions for line in str(exc).splitlines()]
        _exit(log, WRONG, *(f"{web.config_file}: {line}" for line in lines))
    except* (HostError, ListenError) as group:
        _exit(log, FAULT, *map(str, group.exceptions))
    except* Exception as group:
        if missing := shortage(group):
            _exit(log, FAULT, missing)
        structlog.get_logger(__name__).error("a bug ended klag-trio", exc_info=group)
        _leave(log, FAULT)
    _leave(log, STOPPED)


def _exit(log: logs.Log, code: int, *messages: str) -> NoReturn:
    for message in messages:
        log.say(f"klag-trio: {message}")
    _leave(log, code)


def _leave(log: logs.Log, code: int) -> NoReturn:
    """End without tearing down: a thread that is still inside librdkafka would crash it."""
    log.flush(LOG_SECONDS)
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(code)
