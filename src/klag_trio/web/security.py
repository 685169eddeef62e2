"""What the web config file asks for, read again whenever it or a file that it names changes."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import attrs
import structlog
import trio

from klag_trio.config import ConfigError, Problem
from klag_trio.config.web import WebConfig, load_web_config
from klag_trio.files import FileError, read_file
from klag_trio.web.tls import make_context

Outcome = Literal["success", "failure"]
OUTCOMES: tuple[Outcome, ...] = ("success", "failure")

_LOOK_EVERY = 1.0
_FILES = ("cert_file", "key_file", "client_ca_file")

_log = structlog.get_logger(__name__)


@attrs.frozen
class Security:
    """What holds for a connection and for a request."""

    tls: ssl.SSLContext | None = None
    """None where plain HTTP is spoken."""
    tls_made_of: object = None
    """Equal where `tls` would be made alike."""
    allowed_sans: frozenset[str] = frozenset()
    """Names of which a client's certificate must carry one; empty where any certificate will do."""
    users: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """Names and bcrypt hashes; empty where no password is asked for."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Of every answer."""


OPEN = Security()
"""Plain HTTP for everybody."""


@attrs.frozen
class _Attempt:
    """One reading of the files: what came of it, and how to tell whether another would differ."""

    outcome: Security | ConfigError
    paths: Sequence[Path]
    fingerprint: Sequence[str]
    """Of each file; empty where another reading may differ though no file does."""


class WebSecurity:
    """The security that holds now. Made by `load`; `run` follows the files."""

    def __init__(self, path: Path, attempt: _Attempt, security: Security) -> None:
        self._path = path
        self._attempt = attempt
        self._threads = trio.CapacityLimiter(1)
        self.current = security

    @classmethod
    async def load(cls, path: Path) -> WebSecurity:
        """Read the file and what it names; ConfigError where that cannot be used."""
        attempt = await trio.to_thread.run_sync(_attempt, path)
        if isinstance(attempt.outcome, ConfigError):
            raise attempt.outcome
        return cls(path, attempt, attempt.outcome)

    async def run(
        self,
        count: Callable[[Outcome], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Follow the files until cancelled.

        A change is taken when two looks saw the same bytes: a file may be half written. What cannot be used
        is logged and counted once and changes nothing.
        """
        task_status.started()
        seen: _Attempt | None = None
        while True:
            await trio.sleep(_LOOK_EVERY)
            before = seen
            seen = await trio.to_thread.run_sync(
                _look, self._path, self._attempt, before, limiter=self._threads
            )
            if seen is None or seen is not before:
                continue
            self._attempt, seen = seen, None
            earlier = self.current
            problem = self._take(self._attempt.outcome)
            count("success" if problem is None else "failure")
            if problem is None:
                self._tell(_lowered(earlier, self.current))
            else:
                _log.error(
                    "the web config has changed and cannot be used: the one before goes on to hold",
                    file=str(self._path),
                    problems=str(problem).splitlines(),
                )

    def _tell(self, lowered: list[str]) -> None:
        if lowered:
            _log.warning(
                "the web config has changed and asks less of clients from now on",
                file=str(self._path),
                lowered=lowered,
            )
        else:
            _log.info("the web config has changed and holds from now on", file=str(self._path))

    def _take(self, outcome: Security | ConfigError) -> ConfigError | None:
        if isinstance(outcome, ConfigError):
            return outcome
        # A file that is half written must not open the doors.
        for key, had, has in (
            ("tls_server_config", self.current.tls, outcome.tls),
            ("basic_auth_users", self.current.users, outcome.users),
        ):
            if had and not has:
                return ConfigError([Problem(key, "is gone: it can be turned off by a restart only")])
        if outcome.tls_made_of == self.current.tls_made_of:
            # Connections keep to the context that they shook hands under: who changes a password need not
            # cost a scrape that is on its way.
            outcome = attrs.evolve(outcome, tls=self.current.tls)
        self.current = outcome
        return None


def _lowered(before: Security, after: Security) -> list[str]:
    """The keys by which a change asks less of clients. That TLS or users go is no change that is taken."""
    if before.tls is None or after.tls is None:
        return []
    lowered = {
        "tls_server_config.client_auth_type": after.tls.verify_mode < before.tls.verify_mode,
        "tls_server_config.client_allowed_sans": before.allowed_sans and not after.allowed_sans,
        "tls_server_config.min_version": after.tls.minimum_version < before.tls.minimum_version,
    }
    return [key for key, is_lower in lowered.items() if is_lower]


def _look(path: Path, held: _Attempt, seen: _Attempt | None) -> _Attempt | None:
    """What the files ask for where that is not what holds: `seen` where they are still as they were then."""
    if _is_unchanged(held):
        return None
    return seen if seen is not None and _is_unchanged(seen) else _attempt(path)


def _is_unchanged(attempt: _Attempt) -> bool:
    return attempt.fingerprint == [_fingerprint(_read(path)) for path in attempt.paths]


def _attempt(path: Path) -> _Attempt:
    paths, contents = [path], [_read(path)]
    outcome: Security | ConfigError
    try:
        config = load_web_config(_text(contents[0]), path.parent)
        files = {}
        for key in _FILES:
            named = getattr(config.tls_server_config, key)
            if named is not None:
                paths.append(Path(named))
                contents.append(_read(paths[-1]))
                files[key] = contents[-1]
        outcome = _security(config, files)
    except ConfigError as exc:
        outcome = exc
    except FileError as exc:
        # The files are not to blame: without a fingerprint the next look tries again.
        return _Attempt(ConfigError([Problem("tls_server_config", f"cannot be used: {exc}")]), paths, [])
    return _Attempt(outcome, paths, list(map(_fingerprint, contents)))


def _text(content: bytes | str) -> str:
    if isinstance(content, str):
        raise ConfigError([Problem("", f"cannot be read: {content}")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError([Problem("", f"is not UTF-8 text (byte {exc.start})")]) from None


def _security(config: WebConfig, files: Mapping[str, bytes | str]) -> Security:
    tls = config.tls_server_config
    unread = [
        Problem(f"tls_server_config.{key}", f"cannot be read: {content}", getattr(tls, key))
        for key, content in files.items()
        if isinstance(content, str)
    ]
    if unread:
        raise ConfigError(unread)
    read = {key: content for key, content in files.items() if isinstance(content, bytes)}
    return Security(
        tls=make_context(tls, read) if tls.enabled else None,
        tls_made_of=(tls, {key: _fingerprint(content) for key, content in read.items()}),
        allowed_sans=frozenset(tls.client_allowed_sans),
        users=MappingProxyType(dict(config.basic_auth_users)),
        headers=config.http_server_config.headers,
    )


def _read(path: Path) -> bytes | str:
    """The bytes of a file, or why it cannot be read."""
    try:
        return read_file(path)
    except FileError as exc:
        return str(exc)


def _fingerprint(content: bytes | str) -> str:
    return content if isinstance(content, str) else hashlib.sha256(content).hexdigest()
