from __future__ import annotations

from benchmarks import exposition
from prometheus_client import CollectorRegistry, Gauge, generate_latest

BODY = (
    b"# HELP lag Lag.\n# TYPE lag gauge\n"
    b'lag{group="a",topic="t"} 3\n'
    b'lag{group="b",topic="t"} 1.5e3\n'
    b'# HELP lag_seconds Age.\n# TYPE lag_seconds gauge\nlag_seconds{group="a",topic="t"} 7.25\n'
    b"duration 0.5\n"
)


def test_the_samples_of_one_family_come_in_their_order() -> None:
    assert [
        ({"group": "a", "topic": "t"}, 3.0),
        ({"group": "b", "topic": "t"}, 1500.0),
    ] == exposition.samples(BODY, "lag")
    assert [3.0, 1500.0] == exposition.values(BODY, "lag")


def test_a_family_whose_name_begins_like_another_is_another() -> None:
    assert [7.25] == exposition.values(BODY, "lag_seconds")
    assert not exposition.has_sample(BODY, "la")
    assert not exposition.has_sample(BODY, "lag_secon")


def test_a_sample_without_labels_is_found() -> None:
    assert [({}, 0.5)] == exposition.samples(BODY, "duration")
    assert exposition.has_sample(BODY, "duration")


def test_help_and_type_lines_are_no_samples() -> None:
    assert not exposition.has_sample(b"# HELP lag Lag.\n# TYPE lag gauge\n", "lag")
    assert 4 == exposition.count_samples(BODY)


def test_escaped_label_values_come_out_as_they_went_into_the_official_client() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("lag", "Lag.", ["group"], registry=registry)
    names = ['quo"te', "back\\slash", "new\nline", "both\\n", "brace} 1", "größe \N{SNOWMAN}", ""]
    for number, name in enumerate(names):
        gauge.labels(name).set(number)

    found = exposition.samples(generate_latest(registry), "lag")

    assert [({"group": name}, float(number)) for number, name in enumerate(names)] == found
