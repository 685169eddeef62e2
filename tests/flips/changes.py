"""Changes answers: only what a client may have stored, or anything that a lying broker could say."""

from __future__ import annotations

import re
import struct
from collections import Counter, deque
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from random import Random


class Kind(StrEnum):
    """Whose bytes are changed."""

    STORED = "stored"
    """What a client chooses and an honest broker hands on as it is: runs of the marks below."""
    LYING = "lying"
    """Anything in any answer, but for the addresses of brokers: the proxy has to stay between."""


GROUP = "gG" * 8
"""In the name of a group: it is changed where groups are listed; any other answer repeats the request."""
TEXT = "tT" * 12
"""In any other string: a broker of Kafka's hands on UTF-8 only."""
BINARY = b"kK" * 32
"""In what a broker does not read."""

_APIS = {1: "Fetch", 2: "ListOffsets", 3: "Metadata", 9: "OffsetFetch", 10: "FindCoordinator"}
_APIS |= {15: "DescribeGroups", 16: "ListGroups", 18: "ApiVersions", 32: "DescribeConfigs"}
_APIS |= {69: "ConsumerGroupDescribe"}
# How many answers are changed. A cycle takes some thirty; where more than a few of them are nonsense, it ends
# before it has asked everything.
_FRACTIONS = {Kind.STORED: 0.8, Kind.LYING: 0.08}
_RUN = re.compile(rb"(?:gG){4,}|(?:tT){4,}|(?:kK){4,}")
_ADDRESS = re.compile(rb"127\.0\.0\.1.{4}", re.DOTALL)
_CHARACTERS = [*map(chr, range(128)), *"ß\u0600\u202e\ufffd\U0001f600"]
_EXTREMES = [struct.pack(">i", number) for number in (-(2**31), -1, 0, 1, 100_001, 2**31 - 1)]
_EXTREMES += [struct.pack(">h", number) for number in (-(2**15), -1, 0, 1, 2**15 - 1)]
_EXTREMES += [b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff\xff\xff\xff\x0f"]


@attrs.define
class Changes:
    """Changes a fraction of the answers that pass, while it is active; it counts them by API."""

    kind: Kind
    _random: Random
    active: bool = False
    answers: Counter[str] = attrs.field(factory=Counter)
    changed: Counter[str] = attrs.field(factory=Counter)
    recent: deque[str] = attrs.field(factory=lambda: deque(maxlen=12))
    _lock: Lock = attrs.field(factory=Lock)

    def change(self, api_key: int, answer: bytes) -> bytes:
        """The answer, changed or not; it begins with its number, which stays."""
        name = _APIS.get(api_key, f"API {api_key}")
        with self._lock:
            self.answers[name] += 1
            if not self.active or self._random.random() >= _FRACTIONS[self.kind]:
                return answer
            if self.kind is Kind.STORED:
                after = stored(self._random, answer, listing=name == "ListGroups")
            else:
                after = lied(self._random, answer)
            if after != answer:
                self.changed[name] += 1
                self.recent.append(f"{name}: {answer[:2000].hex()}\n-> {after[:2000].hex()}")
            return after


def stored(random: Random, answer: bytes, *, listing: bool) -> bytes:
    """The answer with as many other bytes in some of the runs of marks, or in their beginnings."""

    def become(found: re.Match[bytes]) -> bytes:
        run = found[0]
        # A group of another name is one that a broker does not know.
        if random.random() < 0.5 or (run.startswith(b"g") and (not listing or random.random() < 0.7)):
            return run
        size = random.choice((len(run), random.randint(1, len(run))))
        if run.startswith(b"k"):
            made = b"".join(random.choice((random.choice(_EXTREMES), random.randbytes(2))) for _ in run)
            return made[:size] + run[size:]
        made = "".join(random.choices(_CHARACTERS, k=size)).encode()[:size]
        return made.decode(errors="ignore").encode().ljust(size, b"x") + run[size:]

    return _RUN.sub(become, answer)


def lied(random: Random, answer: bytes) -> bytes:
    """The answer with bytes changed, removed or added in up to three places, sometimes cut off."""
    for _ in range(random.randint(1, 3)):
        at, draw = random.randint(4, len(answer)), random.random()
        added = random.choice((random.choice(_EXTREMES), random.randbytes(random.randint(1, 4))))
        end = at + len(added)
        if draw < 0.2:  # a count or a length next to the right one
            end, added = at + 1, bytes((each + random.choice((-1, 1))) % 256 for each in answer[at : at + 1])
        elif draw < 0.3:
            end = at
        elif draw < 0.4:
            added = b""
        addresses = (found.span() for found in _ADDRESS.finditer(answer))
        if not any(at < last and first < max(end, at + 1) for first, last in addresses):
            answer = answer[:at] + added + answer[end:]
    return answer if random.random() < 0.9 else answer[: random.randint(4, len(answer))]
