"""Configuration files as they come from slips, merges, wrong editors and wrong files."""

from __future__ import annotations

import random
from collections.abc import Iterator

_PIECES = [
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"'",
    b'"""',
    b"=",
    b":",
    b",",
    b".",
    b"#",
    b"\n",
    b"\r",
    b"\t",
    b"\\",
    b" ",
    b"${",
    b"${A}",
    b"${NOT_SET}",
    b"$${",
    b"&a ",
    b"*a",
    b"!x ",
    b"|\n",
    b"- ",
    b"? ",
    b"%",
    b"@",
    b"`",
    b"true",
    b"no",
    b"1",
    b"-1",
    b"1e999",
    b"nan",
    b"0x",
    b"1979-05-27",
    b"[[clusters]]\n",
    b"[exporter]\n",
    b"\x00",
    b"\x1b[2J",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x92\xa5",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
]


def mutations(base: bytes, chance: random.Random) -> Iterator[bytes]:
    """Give files without end, each a few slips away from this one."""
    while True:
        text = bytearray(base)
        for _ in range(chance.randint(1, 4)):
            chance.choice(_SLIPS)(text, chance)
        yield bytes(text)


def _put(text: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(text) + 1)
    text[place:place] = chance.choice(_PIECES)


def _replace(text: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(text) + 1)
    text[place : place + chance.randint(1, 9)] = chance.choice(_PIECES)


def _drop(text: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(text) + 1)
    del text[place : place + chance.randint(1, 40)]


def _noise(text: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(text) + 1)
    text[place : place + 1] = chance.randbytes(chance.randint(1, 4))


def _cut(text: bytearray, chance: random.Random) -> None:
    del text[chance.randrange(len(text) + 1) :]


def _line(text: bytearray, chance: random.Random) -> None:
    """Double, drop or move a line."""
    lines = text.split(b"\n")
    line = lines.pop(chance.randrange(len(lines)))
    for _ in range(chance.randint(0, 2)):
        lines.insert(chance.randrange(len(lines) + 1), line)
    text[:] = b"\n".join(lines)


def _value(text: bytearray, chance: random.Random) -> None:
    """Give a key the value of another one."""
    lines = text.split(b"\n")
    with_value = [number for number, line in enumerate(lines) if b" = " in line or b": " in line]
    if len(with_value) < 2:
        return
    mark = b" = " if b" = " in lines[with_value[0]] else b": "
    one, other = chance.sample(with_value, 2)
    lines[one] = lines[one].partition(mark)[0] + mark + lines[other].partition(mark)[2]
    text[:] = b"\n".join(lines)


_SLIPS = [_put, _replace, _drop, _noise, _cut, _line, _value]
