from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klag_trio.kafka.redact import redactor

# A value made of the marks that take its place cannot be told from them.
secrets = st.text(min_size=4).filter(lambda value: "*" not in value)


@pytest.mark.parametrize(
    ("values", "message", "shown"),
    [
        (["hunter2"], "bad password hunter2 for bob", "bad password *** for bob"),
        (["hunter2"], "hunter2hunter2 'hunter2'", "****** '***'"),
        (["a.c+(x"], "a.c+(x but not abcx", "*** but not abcx"),
        (["back\\slash", 'quo"te'], 'back\\slash quo"te', "*** ***"),
        (["p\nq\nr"], "key p\nq\nr.", "key ***."),
        (["secret", "secret-and-more"], "secret-and-more", "***"),
        (["1", "all"], "node1: all 11 brokers are down", "node1: all 11 brokers are down"),
        (["1", "all"], "Invalid value \"1\" or 'all' for acks", "Invalid value \"***\" or '***' for acks"),
        ([""], "nothing is hidden", "nothing is hidden"),
        ([], "nothing is hidden", "nothing is hidden"),
    ],
)
def test_configured_values_are_blotted_out(values: list[str], message: str, shown: str) -> None:
    assert shown == redactor(values)(message)


@given(values=st.lists(secrets, min_size=1), before=st.text(), data=st.data())
def test_no_value_is_left_wherever_it_stood(values: list[str], before: str, data: st.DataObject) -> None:
    message = before + data.draw(st.sampled_from(values)) + data.draw(st.text())
    shown = redactor(values)(message)
    assert not any(value in shown for value in values)


@given(value=st.text(min_size=1, max_size=3), quote=st.sampled_from("'\""))
def test_a_short_value_is_blotted_out_where_it_is_quoted(value: str, quote: str) -> None:
    assert f"={quote}***{quote}" == redactor([value])(f"={quote}{value}{quote}")


def test_a_piece_that_librdkafka_quotes_of_a_value_is_blotted_out() -> None:
    redact = redactor(["principal=admin hunter2secret=abc"])
    assert "hunter2" not in redact("Unrecognized sasl.oauthbearer.config beginning at: hunter2secret=abc")
