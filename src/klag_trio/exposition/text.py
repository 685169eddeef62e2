"""From samples to the bytes of the two text formats.

The Prometheus text format 0.0.4 and OpenMetrics 1.0 write gauges alike. They part at the counters, whose
family OpenMetrics names without `_total`, and at the end of the text; so the lag, nearly all of the bytes,
is made and compressed once for both.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs

from klag_trio.exposition.body import Body
from klag_trio.exposition.families import LAG_FAMILIES, STATUS_FAMILIES, Family
from klag_trio.exposition.samples import Block

Format = Literal["text", "openmetrics"]
Lines = Mapping[Family, bytes]
"""The sample lines of some families, without their headers."""

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 1
# Each chunk of a body is sent by itself, which costs as much as copying so many bytes.
_SMALL = 64 * 1024
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@attrs.frozen
class Bodies:
    """One publication in both formats."""

    text: Body
    openmetrics: Body


def lines(blocks: Iterable[Block]) -> dict[Family, bytes]:
    """The sample lines of each family that has any sample."""
    written: dict[Family, list[bytes]] = {}
    for block in blocks:
        labels = _label_texts(block)
        for family, values in block.columns.items():
            name = family.name
            text = "".join(
                # A float's repr is the shortest text that reads back as the same float; an int's is exact.
                [
                    f"{name}{label}{value!r}\n"
                    for label, value in zip(labels, values, strict=True)
                    if value is not None
                ]
            )
            if text:
                written.setdefault(family, []).append(text.encode(errors="replace"))
    return {family: b"".join(parts) for family, parts in written.items()}


def _label_texts(block: Block) -> list[str]:
    """`{name="value",...} ` for each row, with the blank that comes before the value."""
    constant = [f'{name}="{_escaped(value)}"' for name, value in block.constant.items()]
    fields = [f'{name}="%s"' for name in block.label_names]
    if not fields and not constant:
        return [" "] * len(block.rows)
    pattern = "{" + ",".join([*fields, *(text.replace("%", "%%") for text in constant)]) + "} "
    # Nearly no value needs an escape; one look at a whole row is cheaper than one at each value.
    return [
        pattern % (row if not _needs_escape("".join(row)) else tuple(map(_escaped, row)))
        for row in block.rows
    ]


def _needs_escape(text: str) -> bool:
    return "\\" in text or '"' in text or "\n" in text


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES)


def header(family: Family, form: Format) -> bytes:
    """The HELP and TYPE lines of a family."""
    name = family.name
    if form == "openmetrics" and family.type == "counter":
        name = name.removesuffix("_total")
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n".encode()


@attrs.frozen
class Prefix:
    """The part of a publication that both formats share, compressed as far as that."""

    chunks: tuple[bytes, ...]
    gzipped: bytes
    compressor: zlib._Compress


def prefix(clusters: Sequence[Lines]) -> Prefix:
    """The lag of all clusters, each family in one piece."""
    chunks = _chunks(clusters, LAG_FAMILIES, "text")
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
    gzipped = b"".join([compressor.compress(chunk) for chunk in chunks])
    return Prefix(chunks, gzipped, compressor)


def finish(shared: Prefix, status: Sequence[Lines], *, extra: Mapping[Format, bytes]) -> Bodies:
    """Both bodies: the lag, then what else is said, then what another library wrote in that format."""
    text = (*_chunks(status, STATUS_FAMILIES, "text"), extra["text"])
    openmetrics = (*_chunks(status, STATUS_FAMILIES, "openmetrics"), extra["openmetrics"], b"# EOF\n")
    return Bodies(text=_finish(shared, text), openmetrics=_finish(shared, openmetrics))


def _finish(shared: Prefix, chunks: tuple[bytes, ...]) -> Body:
    compressor = shared.compressor.copy()
    tail = b"".join([compressor.compress(chunk) for chunk in chunks])
    every = (*shared.chunks, *chunks)
    return Body(chunks=every, gzipped=shared.gzipped + tail + compressor.flush(), length=sum(map(len, every)))


def _chunks(sources: Sequence[Lines], families: Iterable[Family], form: Format) -> tuple[bytes, ...]:
    chunks: list[bytes] = []
    small: list[bytes] = []
    for family in families:
        parts = [part for source in sources if (part := source.get(family))]
        for part in (header(family, form), *parts) if parts else ():
            if len(part) < _SMALL:
                small.append(part)
            else:
                chunks.extend((b"".join(small), part))
                small.clear()
    return (*chunks, b"".join(small))
