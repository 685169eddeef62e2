from __future__ import annotations

import re

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.domain.patterns import NamePattern, PatternError, misread

# Rich in what means something in a regular expression.
PATTERNS = st.lists(
    st.sampled_from(
        [
            *"[]^-&~{},12abA!+.*?()|$\\: \n<>é",
            r"\Q",
            r"\E",
            r"\p{",
            r"\x{",
            r"\b",
            "[:",
            ":]",
            "[:alpha:]",
            "(?i)",
        ]
    )
).map("".join) | st.text(st.characters())


def refusal(pattern: str) -> str:
    with pytest.raises(PatternError) as caught:
        NamePattern(pattern)
    return str(caught.value)


def found_by_re2(pattern: str, text: str) -> str | None:
    """What RE2 itself matches."""
    match = re2.compile(pattern).search(text)
    return None if match is None else text[slice(*match.span())]


@pytest.mark.parametrize(
    ("pattern", "text", "found", "misread_as"),
    [
        # In Rust: [a-z] without b; RE2 takes the & and [ for characters, and the last ] stands outside.
        ("[a-z&&[^b]]", "b]", "b]", "operator"),
        ("[a&&b]", "&", "&", "operator"),
        ("[a-z--b]", "-", "-", "operator"),
        ("[+--]", ",", ",", "operator"),
        ("[--a]", "A", "A", "operator"),
        ("[^--a]", "A", None, "operator"),
        ("[a~~b]", "~", "~", "operator"),
        ("[]&&a]", "&", "&", "operator"),
        (r"[\]&&a]", "&", "&", "operator"),
        (r"[\w--_]", "_", "_", "operator"),
        (r"[\w-&&a]", "&", "&", "operator"),
        (r"[\p{Lu}-&&a]", "&", "&", "operator"),
        (r"[\pL-&&a]", "&", "&", "operator"),
        (r"[a-\x{7a}-[:digit:]&&b]", "&", "&", "operator"),
        ("[x[a-z]]", "a]", "a]", "nested"),
        ("[[a]]", "[]", "[]", "nested"),
        ("[^[a]]", "x]", "x]", "nested"),
        ("[[.a.]]", "[]", "[]", "nested"),
        ("[[=a=]]", "=]", "=]", "nested"),
        ("[[:alpha]]", ":]", ":]", "nested"),
        ("[]-a]", "_", "_", "bracket"),
        ("[^]-a]", "_", None, "bracket"),
        (r"\<a", "<a", "<a", "angle"),
        (r"a\>", "a>", "a>", "angle"),
        (r"\b{start}a", "-{start}a", None, "boundary"),
        (r"\b{start}a", "a{start}a", "{start}a", "boundary"),
        (r"\B{end}", "-{end}", "{end}", "boundary"),
        ("a{,2}", "aa{,2}", "a{,2}", "brace"),
        ("a{ 2 }", "a{ 2 }", "a{ 2 }", "brace"),
        ("a{2, 5}", "a{2, 5}", "a{2, 5}", "brace"),
        ("a{02}", "a{02}", "a{02}", "brace"),
        ("a{9999999999}", "a{9999999999}", "a{9999999999}", "brace"),
        ("{a}", "{a}", "{a}", "brace"),
        (r"(a)\12", "a\n", "a\n", "digit"),
    ],
)
def test_what_re2_reads_differently_without_an_error_is_refused_with_a_hint(
    pattern: str, text: str, found: str | None, misread_as: str
) -> None:
    assert found == found_by_re2(pattern, text)
    hint = {
        "angle": r"write < or >",
        "boundary": r"RE2 has no \b{...}",
        "brace": r"write \{ for it",
        "bracket": r"write \] and \-",
        "digit": "RE2 has no back-references",
        "nested": r"write \[ for",
        "operator": r"write \& \- \~ for",
    }[misread_as]
    assert hint in refusal(pattern)


@pytest.mark.parametrize(
    ("position", "pattern"),
    [
        (0, "{"),
        (3, r"\{a{"),
        (2, "[a[b]]"),
        (4, "[a]b{,3}"),
        (5, r"\Q{\E{"),
        (10, "[[:alpha:]&&a]"),
        (8, r"[\p{Lu}a--b]"),
    ],
)
def test_the_position_is_told(position: int, pattern: str) -> None:
    assert refusal(pattern).startswith(f"at position {position}, ")


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        # No part of a class, or no operator.
        ("a&&b", "a&&b", "a&&b"),
        ("a--b~~c", "a--b~~c", "a--b~~c"),
        ("[a&b]&&[a-b-]-", "&&&--", "&&&--"),
        (r"[a\--z]", "-", "-"),
        (r"[\&\&\-\-\~\~]", "~", "~"),
        ("[-a]-[a-]", "---", "---"),
        ("[a&-&]", "&", "&"),
        ("[!-&&]", "%", "%"),
        # Brackets that stand for themselves.
        ("[]a]", "]", "]"),
        ("[^]a]", "]b", "b"),
        ("[]]]", "]]", "]]"),
        ("[]-]", "-", "-"),
        (r"[\[a]", "[", "["),
        (r"\[[a]\]", "[a]", "[a]"),
        ("a]", "a]", "a]"),
        (r"[\]-a]", "_", "_"),
        ("[!-[:digit:]]", ":]", ":]"),
        # Sets with a name.
        ("[[:alpha:]]+", "1ab", "ab"),
        ("[^[:alpha:]_]+", "a1_", "1"),
        ("[[:^digit:]-]+", "1-", "-"),
        (r"[\p{Lu}\d]+", "aÄ1", "Ä1"),
        (r"[\pL\pN_]+", "-é1_", "é1_"),
        (r"\pL{2}\p{Greek}{1,2}", "éaλ", "éaλ"),
        (r"[\w-]+", "!a-b", "a-b"),
        # Braces.
        ("a{2}", "aaa", "aa"),
        ("a{2,}", "aaa", "aaa"),
        ("(a{1,2}){0,1}", "aaa", "aa"),
        (r"a\{,2}", "a{,2}", "a{,2}"),
        ("[{,2}]", ",", ","),
        (r"\x{61}{2}", "aa", "aa"),
        (r"[\x{61}-\x{62}]", "b", "b"),
        (r"\b{1}a", "a", "a"),
        ("}", "}", "}"),
        # Quoted text.
        (r"\Q{,2}[[&&\<\Ea", r"{,2}[[&&\<a", r"{,2}[[&&\<a"),
        (r"\Qa{", "a{", "a{"),
        (r"\Qa\E[]a]", "a]", "a]"),
        # Groups and flags.
        ("(?P<n>a)(?<m>b)", "ab", "ab"),
        ("(?i)A|(?-i:b)", "a", "a"),
        (r"\\<", r"\<", r"\<"),
        (r"[\<]", "<", "<"),
        (r"\Aa\z", "a", "a"),
        ("a$", "a\n", None),
        ("", "a", ""),
    ],
)
def test_everything_else_is_taken_as_re2_reads_it(pattern: str, text: str, found: str | None) -> None:
    assert misread(pattern) is None
    assert found == found_by_re2(pattern, text)
    assert (found is not None) == NamePattern(pattern).search(text.encode())


@pytest.mark.parametrize(
    ("reason", "pattern"),
    [
        ("RE2 has no look-around, so that it matches in linear time", "a(?=b)"),
        ("RE2 has no look-around, so that it matches in linear time", "^(?!test-)"),
        ("RE2 has no look-around, so that it matches in linear time", "(?<=a)b"),
        ("RE2 has no look-around, so that it matches in linear time", "(?<!a)b"),
        ("RE2 has no back-references, so that it matches in linear time", r"(a)\1"),
        ("RE2 has no back-references, so that it matches in linear time", "(?P<n>a)(?P=n)"),
        ("RE2 has no back-references, so that it matches in linear time", r"(?<n>a)\k<n>"),
        ("RE2 repeats at most 1000 times", "a{1001}"),
        ("RE2 repeats at most 1000 times", "(a{100}){11}"),
        ("pattern too large", r"\pL{1000}" * 5),
        ("missing )", "a("),
        ("missing ]", "[a"),
        ("unexpected )", "a)"),
        ("no argument for repetition operator: *", "*"),
        ("bad repetition operator: ++", "a++"),
        ("invalid character class range: z-a", "[z-a]"),
        (r"invalid character class range: \p{Letter}", r"\p{Letter}"),
        ("invalid character class range: [:foo:]", "[[:foo:]]"),
        (r"invalid escape sequence: \Z", r"a\Z"),
        ("trailing \\", "a\\"),
        ("invalid perl operator: (?x", "(?x)a"),
        ("it is no UTF-8", "\udc80"),
    ],
)
def test_what_re2_refuses_is_refused_with_its_reason(reason: str, pattern: str) -> None:
    assert reason in refusal(pattern)


def test_a_reason_does_not_repeat_a_long_pattern() -> None:
    assert "missing )" == refusal("(" * 50)


@given(PATTERNS)
def test_any_text_is_a_pattern_or_refused_in_one_short_line(text: str) -> None:
    try:
        NamePattern(text)
    except PatternError as exc:
        said = str(exc)
    else:
        said = "a pattern"
    assert said.isprintable()
    assert 0 < len(said) < 160


def test_re2_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert "missing )" in refusal("(")
    assert ("", "") == capfd.readouterr()


@given(st.text("abA-_ .é", min_size=1), st.text("abA-_ .é"))
def test_plain_text_is_found_anywhere(wanted: str, name: str) -> None:
    assert (wanted in name) == NamePattern(re.escape(wanted)).search(name.encode())


# A backtracking engine needs twice as long for every further character.
@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("found", "pattern", "name"),
    [
        (False, r"^([a-z0-9]+-?)+$", "a" * 300 + "!"),
        (True, r"^([a-z0-9]+-?)+$", "a" * 300),
        (False, r"^(\w+-?)+\.prod$", "a" * 300),
        (True, r"^(\w+-?)+\.prod$", "a" * 300 + ".prod"),
        (False, r"^([a-z0-9]+-?)+$", "a" * 30_000 + "!"),
    ],
)
def test_nested_repetitions_are_matched_in_linear_time(found: bool, pattern: str, name: str) -> None:
    assert found == NamePattern(pattern).search(name.encode())


def test_word_characters_and_digits_are_ascii() -> None:
    assert not NamePattern(r"\w|\d").search("é٣".encode())
    assert NamePattern(r"^[\pL\pN_]+$").search("é٣_".encode())


def test_patterns_of_the_same_text_are_equal() -> None:
    assert NamePattern("^a") == NamePattern("^a")
    assert NamePattern("^a") != NamePattern("^b")
    assert 1 == len({NamePattern("^a"), NamePattern("^a")})
