"""Label values from Kafka have an end, the same one in every format."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.domain.snapshots import lag_report, snapshot
from tests.unit.exposition.reading import FORMATS, samples

from klag_trio.domain.lag import LagReport
from klag_trio.domain.offsets import Member, TopicPartition
from klag_trio.exposition import families as f
from klag_trio.exposition import text
from klag_trio.exposition.label_values import LabelValues, label_value
from klag_trio.exposition.samples import Block, LagBlocks, lag_blocks
from klag_trio.otlp.data import Source, parts

LIMIT = 512
KEPT = LIMIT - 17
LONG = 32_767
NAME = "g" * LONG
PARTITIONS = [TopicPartition("orders", number) for number in range(200)]


def digits(whole: str) -> str:
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("whole", "kept"),
    [
        ("", None),
        ("billing", None),
        ("x" * 512, None),
        ("x" * 513, "x" * 495),
        ("x" * 32_767, "x" * 495),
        # Two, three and four bytes a character: 495 bytes end within one of them, or behind it.
        ("é" * 256, None),
        ("é" * 257, "é" * 247),
        ("日" * 170, None),
        ("日" * 171, "日" * 165),
        ("a" + "日" * 171, "a" + "日" * 164),
        ("😀" * 128, None),
        ("😀" * 129, "😀" * 123),
        ("x" * 510 + "日", "x" * 495),
        ("~" * 600, "~" * 495),
    ],
)
def test_a_value_is_cut_behind_512_bytes_at_a_whole_character(whole: str, kept: str | None) -> None:
    assert (whole if kept is None else f"{kept}~{digits(whole)}") == label_value(whole)


def test_the_digits_are_those_of_sha256() -> None:
    # printf '%600s' | tr ' ' x | sha256sum
    assert "x" * KEPT + "~" + "5130b33e6b87fbf5" == label_value("x" * 600)


# What Kafka may send is any text without surrogates; most of it is made of repetitions, or it would be short.
characters = st.characters(exclude_categories=["Cs"])
values = st.one_of(
    st.text(characters),
    st.builds(
        lambda part, times, end: part * times + end,
        st.text(characters, min_size=1, max_size=8),
        st.integers(1, 700),
        st.text(characters, max_size=20),
    ),
)


@given(values)
@example("x" * 512)
@example("x" * 494 + "😀" * 100)
def test_no_value_is_longer_than_512_bytes_and_none_that_fits_is_changed(whole: str) -> None:
    value = label_value(whole)
    assert len(value.encode()) <= LIMIT
    fits = len(whole.encode()) <= LIMIT
    assert fits == (value == whole)
    if not fits:
        # All of the beginning that there is room for.
        kept = value[:-17]
        assert whole.startswith(kept)
        assert len((kept + whole[len(kept)]).encode()) > KEPT


@given(values, values)
def test_different_values_stay_different(one: str, other: str) -> None:
    assert (one == other) == (label_value(one) == label_value(other))


@given(values, characters, characters)
def test_values_that_differ_only_at_the_end_stay_different(begin: str, one: str, other: str) -> None:
    long = begin + "x" * LIMIT
    assert (one == other) == (label_value(long + one) == label_value(long + other))


@given(st.text(st.characters(categories=["Cs"]) | characters, min_size=1).map(lambda part: part * 600))
@example("\ud800" * 600)
def test_half_a_surrogate_pair_is_cut_as_it_is_served(whole: str) -> None:
    served = whole.encode(errors="replace").decode()
    assert label_value(served) == label_value(whole)


@given(st.lists(values, max_size=6))
def test_all_values_of_a_report_are_cut_alike_and_each_is_counted_once(several: list[str]) -> None:
    found = LabelValues()
    assert [label_value(whole) for whole in several * 2] == [found.fit(whole) for whole in several * 2]
    assert len({whole for whole in several if len(whole.encode()) > LIMIT}) == found.cut


# A report


def of_one_group(name: str = "billing", member: Member | None = None) -> LagReport:
    """The report of a group that has committed an offset in each of 200 partitions."""
    owners = None if member is None else dict.fromkeys(PARTITIONS, member)
    commits = dict.fromkeys(PARTITIONS, 5)
    return lag_report(snapshot(dict.fromkeys(PARTITIONS, (0, 10)), {name: commits}, owners=owners))


def lag(report: LagReport, *, partition_series: bool = True) -> LagBlocks:
    return lag_blocks("c", {"env": "prod"}, report, partition_series=partition_series, time_lag=True)


def body(blocks: list[Block]) -> text.Bodies:
    return text.finish(text.prefix([text.lines(blocks)]), [], extra={"text": b"", "openmetrics": b""})


@pytest.mark.parametrize(
    ("report", "cut"),
    [
        (of_one_group(), 0),
        (of_one_group(NAME), 1),
        (of_one_group(member=Member("id", NAME, "/10.0.0.1")), 1),
        (of_one_group(NAME, Member(f"{NAME}-6f1c", NAME, "/" + "h" * LONG)), 3),
    ],
    ids=["short", "group", "client", "all"],
)
def test_names_of_32_kb_on_200_partitions_make_a_small_body(report: LagReport, cut: int) -> None:
    found = lag(report)
    assert cut == found.values_cut
    # 1,004 series by partition and 400 watermarks, each with at most four values of 512 bytes.
    assert body(found.blocks).text.length < 3_000_000


def test_what_is_not_rendered_is_not_counted_as_cut() -> None:
    report = of_one_group(NAME, Member(f"{NAME}-6f1c", NAME, "/10.0.0.1"))
    assert 2 == lag(report).values_cut
    assert 1 == lag(report, partition_series=False).values_cut


@pytest.mark.parametrize("form", FORMATS)
def test_every_series_of_a_long_name_has_the_same_label(form: text.Format) -> None:
    member = Member(f"{NAME}-6f1c", f"c{NAME}", "/" + "h" * LONG)
    found = samples(body(lag(of_one_group(NAME, member)).blocks), form)
    wanted = {
        "group": NAME,
        "consumer_id": member.consumer_id,
        "client_id": member.client_id,
        "member_host": member.host,
    }
    for label, whole in wanted.items():
        assert {label_value(whole)} == {s.labels[label] for s in found if label in s.labels}
    families = {family.name for family in f.LAG_FAMILIES if "group" in family.labels}
    assert families - {
        "kafka_consumergroup_group_lag_seconds",
        "kafka_consumergroup_group_max_lag_seconds",
    } == {sample.name for sample in found if "group" in sample.labels}


def test_two_groups_that_differ_only_at_the_end_of_their_names_are_two_series() -> None:
    names = [NAME + "1", NAME + "2"]
    commits = {PARTITIONS[0]: 5}
    report = lag_report(snapshot({PARTITIONS[0]: (0, 10)}, dict.fromkeys(names, commits)))
    found = samples(body(lag(report).blocks), "text")
    sums = [s.labels["group"] for s in found if s.name == "kafka_consumergroup_group_sum_lag"]
    assert list(map(label_value, names)) == sums


def test_a_topic_is_cut_too_although_kafka_takes_none_so_long() -> None:
    tp = TopicPartition("t" * 600, 0)
    report = lag_report(snapshot({tp: (0, 10)}, {"billing": {tp: 5}}))
    found = samples(body(lag(report).blocks), "text")
    assert {label_value(tp.topic)} == {s.labels["topic"] for s in found if "topic" in s.labels}


def test_otlp_has_the_values_that_prometheus_reads() -> None:
    blocks = lag(of_one_group(NAME, Member(f"{NAME}-6f1c", NAME, "/10.0.0.1"))).blocks
    points = {
        (metric.name, frozenset((point.attributes or {}).items()))
        for part in parts([lambda: blocks], Source({}, "1", 0.0), at=1.0)
        for metric in part.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    read = {(s.name, frozenset(s.labels.items())) for s in samples(body(blocks), "text")}
    assert read == points


def test_the_names_and_labels_that_the_operator_chose_are_not_cut() -> None:
    cluster, label = "c" * 2000, "l" * 2000
    found = lag_blocks(cluster, {"env": label}, of_one_group(), partition_series=True, time_lag=True)
    assert 0 == found.values_cut
    labels = [s.labels for s in samples(body(found.blocks), "text")]
    assert {(cluster, label)} == {(given["cluster_name"], given["env"]) for given in labels}
