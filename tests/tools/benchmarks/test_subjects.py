from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from benchmarks.subjects import Subject, config_text, ours, parse_peer


def test_a_peer_is_a_name_a_port_and_a_command_that_may_hold_equals_signs() -> None:
    peer = parse_peer("kafka_exporter=9308=kafka_exporter --kafka.server={bootstrap} --listen=:{port}")

    assert ("kafka_exporter", 9308) == (peer.name, peer.port)
    assert ["kafka_exporter", "--kafka.server=b:9092", "--listen=:9308"] == peer.arguments(
        Path("c.toml"), "b:9092"
    )


def test_a_command_without_a_place_gets_the_configuration() -> None:
    peer = parse_peer("klag-exporter=8001=/opt/klag-exporter")

    assert ["/opt/klag-exporter", "-c", "/tmp/c.toml"] == peer.arguments(Path("/tmp/c.toml"), "b:9092")  # noqa: S108


def test_port_0_is_replaced_by_a_free_one() -> None:
    assert 0 < parse_peer("klag-exporter=0=klag-exporter").port < 65536


@pytest.mark.parametrize(
    ("text", "mode", "title"),
    [
        ("klag-exporter=1=x", "rate", "klag-exporter"),
        ("klag-exporter@message=1=x", "message", "klag-exporter@message"),
        ("klag-trio=1=x", "message", "klag-trio"),
        ("klag-trio@off=1=x", "off", "klag-trio@off"),
    ],
)
def test_the_mode_is_the_exporters_default_unless_the_name_says_another(
    text: str, mode: str, title: str
) -> None:
    peer = parse_peer(text)

    assert (mode, title) == (peer.mode, peer.title)


@pytest.mark.parametrize("text", ["", "name", "name=1", "name=1=", "=1=x", "name=port=x", "name@fast=1=x"])
def test_what_is_no_peer_is_refused_with_what_was_found(text: str) -> None:
    with pytest.raises(ValueError, match=f"^'{text}'"):
        parse_peer(text)


@pytest.mark.parametrize(
    ("subject", "sampling"),
    [
        (ours("message"), {"enabled": True, "mode": "message"}),
        (ours("rate"), {"enabled": True, "mode": "rate"}),
        (ours("off"), {"enabled": False}),
    ],
)
def test_the_configuration_says_what_the_subject_is(subject: Subject, sampling: dict[str, object]) -> None:
    config = tomllib.loads(config_text(subject, "h:1,h:2", 10.0, "^bench-L-.*$"))

    assert sampling == config["exporter"]["timestamp_sampling"]
    assert ("partition", "10000ms", subject.port) == tuple(
        config["exporter"][key] for key in ("granularity", "poll_interval", "http_port")
    )
    assert ("h:1,h:2", ["^bench-L-.*$"]) == tuple(
        config["clusters"][0][key] for key in ("bootstrap_servers", "group_whitelist")
    )
