"""Our writer, held against prometheus-client's parsers."""

from __future__ import annotations

import gzip
import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.exposition import fixed
from tests.unit.exposition.reading import FORMATS, body_in, families, plain, samples
from tests.unit.exposition.test_families import LABELS, TYPES

from klag_trio.exposition import families as f
from klag_trio.exposition import text
from klag_trio.exposition.samples import Block, Value, process_blocks

NOTHING: dict[text.Format, bytes] = {"text": b"", "openmetrics": b""}
ODD = ["", '"', "\\", "\n", '\\"', "\\n", "\\\\\n\n", "%", "%s", "%(a)s", "{}", "{a}", "}", ",", "=", "#"]
ODD += [
    " # ",
    "\r",
    "\r\n",
    "\t",
    "\x00",
    "\x85",
    "\u2028",
    "\u2029",
    "\ufeff",
    " ",
    "é",
    "日本",
    "😀",
    "\ud800",
]

# Any code point, surrogates too, which a name from Kafka cannot but a configured label might hold.
label_values = st.one_of(
    st.text(st.characters()), st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=3))).map("".join)
)
numbers = st.one_of(st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False))


def published(blocks: list[Block], *more: list[Block]) -> text.Bodies:
    """What is served of one cluster, or of several."""
    return text.finish(text.prefix([text.lines(b) for b in (blocks, *more)]), [], extra=NOTHING)


def lag_block(rows: list[tuple[str, ...]], values: list[Value]) -> Block:
    return Block(f.G, rows, {f.GROUP_SUM_LAG: values}, {})


def sent(value: str) -> str:
    """A lone surrogate is no character, and UTF-8 has no bytes for it."""
    return value.encode(errors="replace").decode()


# Values and labels, whatever they are


@pytest.mark.parametrize("form", FORMATS)
@given(cluster=label_values, groups=st.lists(label_values, min_size=1, max_size=4), constant=label_values)
@example(cluster="".join(ODD), groups=ODD, constant="".join(ODD))
def test_any_label_value_reads_back(
    form: text.Format, cluster: str, groups: list[str], constant: str
) -> None:
    rows = [(cluster, str(i), group) for i, group in enumerate(groups)]
    block = Block(
        f.GROUP_TOPIC_SUM_LAG.labels, rows, {f.GROUP_TOPIC_SUM_LAG: list(range(len(rows)))}, {"env": constant}
    )
    assert [
        {"cluster_name": sent(cluster), "group": number, "topic": sent(group), "env": sent(constant)}
        for _, number, group in rows
    ] == [sample.labels for sample in samples(published([block]), form)]


@pytest.mark.parametrize("form", FORMATS)
@given(values=st.lists(numbers, min_size=1))
def test_any_number_reads_back(form: text.Format, values: list[Value]) -> None:
    block = lag_block([("c", str(i)) for i in range(len(values))], values)
    assert [float(value) for value in values if value is not None] == [
        float(sample.value) for sample in samples(published([block]), form)
    ]


@given(st.integers(-(2**70), 2**70))
@example(2**53 + 1)
@example(2**63 - 1)
def test_an_integer_is_written_digit_for_digit(value: int) -> None:
    body = plain(published([lag_block([("c", "g")], [value])]).text)
    assert f'kafka_consumergroup_group_sum_lag{{cluster_name="c",group="g"}} {value}\n' in body


@given(st.lists(st.one_of(st.none(), st.integers()), min_size=1))
def test_what_is_absent_is_not_written(values: list[Value]) -> None:
    block = lag_block([("c", str(i)) for i in range(len(values))], values)
    name = "kafka_consumergroup_group_sum_lag"
    present = [(i, value) for i, value in enumerate(values) if value is not None]
    written = text.lines([block])
    assert [f'{name}{{cluster_name="c",group="{i}"}} {value}' for i, value in present] == written.get(
        f.GROUP_SUM_LAG, b""
    ).decode().splitlines()
    assert bool(present) == (f.GROUP_SUM_LAG in written)


def test_a_family_without_a_sample_is_not_announced() -> None:
    assert "" == plain(published([lag_block([("c", "g")], [None]), lag_block([], [])]).text)


# Whole bodies


@pytest.mark.parametrize("form", FORMATS)
def test_families_types_and_help_read_back(form: text.Format) -> None:
    read = families(fixed.bodies(), form)
    # Both parsers name a counter without its suffix.
    expected = {
        family.name.removesuffix("_total") if family.type == "counter" else family.name: family
        for family in f.FAMILIES
    }
    assert {name: (TYPES[family.name], family.help) for name, family in expected.items()} == {
        name: (metric.type, metric.documentation) for name, metric in read.items()
    }


@pytest.mark.parametrize("form", FORMATS)
def test_every_sample_has_exactly_its_labels_and_the_constant_ones(form: text.Format) -> None:
    for sample in samples(fixed.bodies(), form):
        cluster = sample.labels.get("cluster_name")
        constant = fixed.LABELS[cluster] if cluster else {}
        assert LABELS[sample.name] | constant.keys() == sample.labels.keys()
        assert constant == {name: sample.labels[name] for name in constant}


def test_both_formats_say_the_same() -> None:
    assert samples(fixed.bodies(), "text") == samples(fixed.bodies(), "openmetrics")


@pytest.mark.parametrize("form", FORMATS)
def test_no_series_is_there_twice_and_no_value_is_nan(form: text.Format) -> None:
    read = samples(fixed.bodies(), form)
    assert len(read) == len({(sample.name, frozenset(sample.labels.items())) for sample in read})
    assert not any(math.isnan(sample.value) for sample in read)


@pytest.mark.parametrize("form", FORMATS)
def test_a_family_is_in_one_piece_across_clusters(form: text.Format) -> None:
    # A label value may hold a line break of another kind, so only "\n" ends a line.
    content = plain(body_in(fixed.bodies(), form)).split("\n")
    names = [m[0] for line in content if (m := re.match(r"\w+", line))]
    pieces = [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    assert [family.name for family in f.FAMILIES] == pieces
    clusters = re.findall(r'group_sum_lag\{cluster_name="(\w+)",group="billing"', "\n".join(content))
    assert ["alpha", "beta"] == clusters


def test_counters_are_announced_as_each_format_names_them() -> None:
    bodies = fixed.bodies()
    assert "# TYPE klag_cycles_overrun_total counter\n" in plain(bodies.text)
    assert "# TYPE klag_cycles_overrun counter\n" in plain(bodies.openmetrics)
    assert "# HELP klag_cycles_overrun Cycles" in plain(bodies.openmetrics)
    assert 'klag_cycles_overrun_total{cluster_name="alpha",' in plain(bodies.openmetrics)


def test_inherited_gauges_keep_their_names_in_openmetrics() -> None:
    content = plain(fixed.bodies().openmetrics)
    assert "# TYPE kafka_lag_exporter_compaction_detected_total gauge\n" in content


def test_only_openmetrics_has_an_end_mark() -> None:
    bodies = fixed.bodies()
    assert "# EOF" not in plain(bodies.text)
    assert plain(bodies.openmetrics).endswith("\n# EOF\n")
    assert 1 == plain(bodies.openmetrics).count("# EOF")


def test_what_another_library_wrote_comes_last_in_its_own_format() -> None:
    bodies = fixed.bodies({"text": b"a 1\n", "openmetrics": b"b 1\n"})
    assert plain(bodies.text).endswith('klag_build_info{version="1.2.3"} 1\na 1\n')
    assert plain(bodies.openmetrics).endswith('klag_build_info{version="1.2.3"} 1\nb 1\n# EOF\n')


# The gzipped bytes


@pytest.mark.parametrize("form", FORMATS)
@given(
    clusters=st.lists(st.lists(st.tuples(label_values, numbers), max_size=5), max_size=3), extra=st.binary()
)
def test_gzip_holds_exactly_the_plain_bytes(
    form: text.Format, clusters: list[list[tuple[str, int | float]]], extra: bytes
) -> None:
    written = [
        text.lines([lag_block([(str(i), group) for group, _ in pairs], [value for _, value in pairs])])
        for i, pairs in enumerate(clusters)
    ]
    bodies = text.finish(text.prefix(written), [], extra={"text": extra, "openmetrics": extra})
    body = body_in(bodies, form)
    assert b"".join(body.chunks) == gzip.decompress(body.gzipped)
    assert len(b"".join(body.chunks)) == body.length


def test_one_prefix_is_finished_again_and_again() -> None:
    shared = text.prefix([text.lines(fixed.lag_blocks("alpha", fixed.alpha()))])
    first = text.finish(shared, [], extra={"text": b"a 1\n", "openmetrics": b""})
    second = text.finish(shared, [], extra={"text": b"a 2\n", "openmetrics": b""})
    assert gzip.decompress(first.text.gzipped)[:-4] == gzip.decompress(second.text.gzipped)[:-4]
    assert (b"a 1\n", b"a 2\n") == (first.text.chunks[-1], second.text.chunks[-1])


# Nothing to say


@pytest.mark.parametrize("form", FORMATS)
def test_without_a_cluster_there_is_only_the_process(form: text.Format) -> None:
    blocks = process_blocks(
        version="1.2.3",
        up=None,
        leader=True,
        values_cut=0,
        log_lines_dropped=0,
        exports={},
        reloads={},
    )
    bodies = text.finish(text.prefix([]), [text.lines(blocks)], extra=NOTHING)
    assert families(bodies, form).keys() == {
        "klag_leader",
        "klag_label_values_cut",
        "klag_log_lines_dropped",
        "klag_build_info",
    }


def test_without_anything_openmetrics_still_ends() -> None:
    bodies = text.finish(text.prefix([]), [], extra=NOTHING)
    assert ("", "# EOF\n") == (plain(bodies.text), plain(bodies.openmetrics))
    assert b"# EOF\n" == gzip.decompress(bodies.openmetrics.gzipped)
