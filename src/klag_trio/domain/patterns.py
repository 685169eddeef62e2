"""Regular expressions for names, matched by RE2 in time linear in the length of the name.

Users bring their patterns from klag-exporter, whose engine is Rust's regex. Some text RE2 reads differently
without an error: `misread` finds it, and NamePattern refuses it.
"""

from __future__ import annotations

import re

import attrs
import re2

_CHARACTER = r"\\x\{[^}]*\}?|\\.|."
# One token of a pattern outside of classes, as RE2 reads it.
_TOKEN = re.compile(
    rf"""
      \\Q.*?(?:\\E|\Z)
    | \\[pP]\{{[^}}]*\}}?
    | (?P<angle>\\[<>])
    | (?P<digit>\\[1-9])
    | (?P<boundary>\\[bB]\{{(?![0-9]))
    | \{{(?:0|[1-9][0-9]{{0,8}})(?:,(?:0|[1-9][0-9]{{0,8}})?)?\}}
    | (?P<brace>\{{)
    | (?P<bracket>\[\^?\]-(?!\]))
    | (?P<class>\[\^?\]?)
    | {_CHARACTER}
    """,
    re.DOTALL | re.VERBOSE,
)
# One item of a class: a set of characters, or a character and, where it begins a range, the last one.
_ITEM = re.compile(
    rf"""
      (?P<end>\])
    | (?P<operator>&&|--|~~)
    | \[:.*?:\]
    | (?P<nested>\[)
    | \\[dDsSwW] | \\[pP](?:\{{[^}}]*\}}?|.)
    | (?:{_CHARACTER})(?:-(?![-\]])(?:{_CHARACTER}))?
    """,
    re.DOTALL | re.VERBOSE,
)
_LINEAR = "RE2 has no {}, so that it matches in linear time"
_MISREAD = {
    "angle": r"RE2 reads \< and \> as the characters; write < or >, or \b for a word boundary",
    "digit": _LINEAR.format("back-references") + r"; write \x{...} for the character of a code",
    "boundary": r"RE2 has no \b{...} and no \B{...}; write \b, or \{ for the character",
    "brace": r"RE2 reads { as a character; write \{ for it, and {2}, {2,} or {2,5} for a repetition",
    "bracket": r"RE2 reads a range that begins with ]; write \] and \- for the characters",
    "operator": r"RE2 has no && -- ~~ in classes; list what is left, or write \& \- \~ for the characters",
    "nested": r"RE2 has no classes in classes; write \[ for the character",
}
# The first counts with which RE2's message begins.
_HINTS = {
    "invalid perl operator: (?=": _LINEAR.format("look-around"),
    "invalid perl operator: (?!": _LINEAR.format("look-around"),
    "invalid perl operator: (?<": _LINEAR.format("look-around"),
    "invalid perl operator: (?P": _LINEAR.format("back-references"),
    r"invalid escape sequence: \k": _LINEAR.format("back-references"),
    "invalid repetition size": "RE2 repeats at most 1000 times, repetitions in each other multiplied",
}
# RE2 may name all of the pattern after the colon.
_NAMED_AT_MOST = 40


class PatternError(ValueError):
    """RE2 refuses the pattern, or reads it differently from Rust's regex; str() says why, in one line."""


def misread(pattern: str) -> str | None:
    r"""What RE2 reads differently from Rust's regex without an error, with a hint; None for nothing.

    Not looked for: what RE2 refuses itself, and \w, \d, \s and \b, which know only ASCII in RE2
    (https://github.com/google/re2/wiki/Syntax).
    """
    tokens, at = _TOKEN, 0
    while token := tokens.match(pattern, at):
        kind = token.lastgroup
        if kind in _MISREAD:
            return f"at position {at}, {_MISREAD[kind]}"
        if kind == "class":
            tokens = _ITEM
        elif kind == "end":
            tokens = _TOKEN
        at = token.end()
    return None


@attrs.frozen
class NamePattern:
    """A regular expression that finds names; equal to any other of the same text.

    Raises:
        PatternError: it is no regular expression, or not one that RE2 and Rust's regex read alike.

    """

    pattern: str
    _compiled: re2._Regexp = attrs.field(init=False, eq=False, repr=False)

    @_compiled.default
    def _compile(self) -> re2._Regexp:
        if reason := misread(self.pattern):
            raise PatternError(reason)
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        try:
            return re2.compile(self.pattern, options)
        except re2.error as exc:
            raise PatternError(_reason(exc)) from None
        except UnicodeEncodeError:
            # From the environment, where Python spells bytes that are no UTF-8 as surrogates.
            raise PatternError("it is no UTF-8") from None

    def search(self, name: bytes) -> bool:
        """Whether the pattern matches anywhere in the name, given in UTF-8."""
        return self._compiled.search(name) is not None


def _reason(error: re2.error) -> str:
    message = error.args[0].decode(errors="replace")
    what, colon, named = message.partition(": ")
    short = len(named) <= _NAMED_AT_MOST and named.isprintable()
    hints = [hint for beginning, hint in _HINTS.items() if message.startswith(beginning)]
    return "; ".join([f"{what}{colon}{named}" if short else what, *hints[:1]])
