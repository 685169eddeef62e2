from __future__ import annotations

import pytest

from klag_trio.domain.mends import mend


@pytest.mark.parametrize(
    ("stage", "code", "words"),
    [
        ("committed", "GROUP_AUTHORIZATION_FAILED", "DESCRIBE on the group"),
        ("earliest", "TOPIC_AUTHORIZATION_FAILED", "DESCRIBE on the topic"),
        ("members", "TOPIC_AUTHORIZATION_FAILED", "DESCRIBE on all topics of the group"),
        ("policies", "TOPIC_AUTHORIZATION_FAILED", "DESCRIBE_CONFIGS on the topic"),
        ("groups", "CLUSTER_AUTHORIZATION_FAILED", "DESCRIBE on the cluster"),
        ("topics", "SASL_AUTHENTICATION_FAILED", "sasl.*"),
        ("topics", "_AUTHENTICATION", "security.protocol"),
        ("topics", "_RESOLVE", "bootstrap_servers"),
        ("topics", "_SSL", "ssl.*"),
    ],
)
def test_an_error_that_somebody_can_end_names_what_ends_it(stage: str, code: str, words: str) -> None:
    hint = mend(stage, code)
    assert hint is not None
    assert words in hint


@pytest.mark.parametrize("code", ["_TIMED_OUT", "_TRANSPORT", "COORDINATOR_NOT_AVAILABLE", "never heard of"])
def test_where_waiting_is_all_there_is_nothing_is_said(code: str) -> None:
    assert mend("committed", code) is None
