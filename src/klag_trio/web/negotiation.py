"""What a client asks for in Accept and Accept-Encoding (RFC 9110, section 12.5), as pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import attrs

# A quality that is none of these makes the element it stands in void.
_QUALITY = re.compile(r"(?:0(?:\.\d*)?|1(?:\.0*)?)")

_UNMATCHED = -1


@attrs.frozen
class _Element:
    """One element of the list, such as `text/plain;version=0.0.4;q=0.5`, in lower case."""

    name: str
    quality: float
    parameters: Mapping[str, str]


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics 1.0 is the better answer to this Accept than the text format 0.0.4.

    Between equals OpenMetrics wins only where it is named: a client that takes anything gets the text format,
    and so does one that takes neither, since an answer it may still read serves it better than none.
    """
    elements = list(_elements(accept))
    text, _ = _media_quality(elements, "text", "plain", version="0.0.4")
    openmetrics, precision = _media_quality(elements, "application", "openmetrics-text", version="1.0.0")
    named = precision >= 2
    return openmetrics > text or (named and openmetrics == text > 0)


def wants_gzip(accept_encoding: str) -> bool:
    """Whether gzip is allowed and no less welcome than the plain bytes."""
    qualities: dict[str, float] = {}
    for element in _elements(accept_encoding):
        qualities.setdefault("gzip" if element.name == "x-gzip" else element.name, element.quality)
    gzip = qualities.get("gzip", qualities.get("*", 0.0))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _elements(header: str) -> Iterator[_Element]:
    for part in header.lower().split(","):
        name, *rest = (field.strip() for field in part.split(";"))
        parameters = {
            key.strip(): value.strip().strip('"')
            for key, _, value in (field.partition("=") for field in rest)
        }
        quality = parameters.pop("q", "1")
        if name and _QUALITY.fullmatch(quality):
            yield _Element(name, float(quality), parameters)


def _media_quality(elements: list[_Element], kind: str, subtype: str, *, version: str) -> tuple[float, int]:
    """Quality and precision of the most precise range that takes this media type; 0 where none does."""
    precisions = {"*/*": 0, f"{kind}/*": 1, f"{kind}/{subtype}": 2}
    best = (0.0, _UNMATCHED)
    for element in elements:
        # Other parameters (charset, escaping) do not choose between what there is to serve.
        asked = element.parameters.get("version")
        if element.name not in precisions or asked not in (None, version):
            continue
        precision = precisions[element.name] + (asked is not None)
        if precision > best[1]:
            best = (element.quality, precision)
    return best
