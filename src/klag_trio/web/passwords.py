"""Passwords against bcrypt hashes: guessing is slow, and who has a right password does not notice."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import defaultdict
from collections.abc import Mapping

import trio

# For each user. At 70 ms a check (cost 10) they wait for half a second, times the users whose passwords are
# being guessed; who knocks then is told to come again.
_MOST_WAITING = 8
_MOST_REMEMBERED = 1024
# What bcrypt looks at; other implementations cut silently too, and the hashes come from them.
_MOST_BYTES = 72
_COST = re.compile(r"\$2[aby]\$(\d\d)\$")


class TooBusyError(Exception):
    """Too many passwords of a user wait to be checked; who knows one that was right is not affected."""


class Passwords:
    """Checks passwords in one worker thread and remembers what came out, by digest.

    At most one core is busy with it, however many are guessed. Each user has a queue, and all names that are
    no user's have one together, of which one password at a time is checked or waits for the thread: guesses
    at one name delay no other. No password can be computed from what is remembered: the key of the digests is
    random and never leaves the process.
    """

    def __init__(self, limiter: trio.CapacityLimiter | None = None) -> None:
        self._limiter = limiter or trio.CapacityLimiter(1)
        self._key = secrets.token_bytes(32)
        # Two memories, so that no guesses drive out what is right: of the latter there is one for each user.
        self._right: dict[str, bytes] = {}
        self._wrong: dict[bytes, None] = {}
        self._checking: dict[bytes, trio.Event] = {}
        self._queues: defaultdict[str | None, trio.Lock] = defaultdict(trio.Lock)
        self._stand_ins: dict[str, bytes] = {}

    async def right(self, users: Mapping[str, str], name: str, password: bytes) -> bool:
        """Whether the user exists and has this password. A user who does not costs the same time.

        Raises TooBusyError.
        """
        password = password[:_MOST_BYTES]
        hashed = users[name].encode() if name in users else self._stand_in(users)
        digest = self._digest(name, hashed, password)
        while True:
            if hmac.compare_digest(self._right.get(name, b""), digest):
                return True
            if digest in self._wrong:
                return False
            if digest not in self._checking:
                break
            await self._checking[digest].wait()
        queue = self._queues[name if name in users else None]
        if queue.statistics().tasks_waiting >= _MOST_WAITING:
            raise TooBusyError
        self._checking[digest] = trio.Event()
        try:
            async with queue:
                # Left alone where the client goes or we stop: at a high cost a hash takes many seconds.
                right = await trio.to_thread.run_sync(
                    _matches, password, hashed, limiter=self._limiter, abandon_on_cancel=True
                )
            right = right and name in users
            self._remember(name, digest, right=right)
        finally:
            self._checking.pop(digest).set()
        return right

    def _digest(self, name: str, hashed: bytes, password: bytes) -> bytes:
        parts = (name.encode("utf-8", "surrogateescape"), hashed, password)
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, message, hashlib.sha256)

    def _remember(self, name: str, digest: bytes, *, right: bool) -> None:
        if right:
            self._right[name] = digest
            return
        while len(self._wrong) >= _MOST_REMEMBERED:
            del self._wrong[next(iter(self._wrong))]
        self._wrong[digest] = None

    def _stand_in(self, users: Mapping[str, str]) -> bytes:
        """A hash of nothing, of the cost that most users' hashes have."""
        costs = [match[1] for hashed in users.values() if (match := _COST.match(hashed))]
        cost = max(set(costs), key=costs.count, default="10")
        if cost not in self._stand_ins:
            salt_and_hash = hashlib.sha512(self._key).hexdigest()[:52]
            self._stand_ins[cost] = f"$2b${cost}${salt_and_hash[:21]}.{salt_and_hash[21:]}".encode()
        return self._stand_ins[cost]


def _matches(password: bytes, hashed: bytes) -> bool:
    # Only here: it costs memory, and most configurations have no passwords.
    import bcrypt

    return bcrypt.checkpw(password, hashed)
