"""How long klag-trio takes to end, whatever it is in the middle of; and to say that a broker hangs."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.program.scenes import (
    answering_clients_that_do_not_read,
    check_beside_a_frozen_broker,
    cycling,
    waiting_for_a_frozen_broker,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker.driver import KafkaDriver
    from tests.conftest import Kafka
    from tests.program.program import Program

    from stack.kafka import KafkaCluster

FRAGILE = pytest.mark.xdist_group("fragile")
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
# What is promised.
STOP_SECONDS = 5.0
CHECK_SECONDS = 15.0


def ends_in_time(program: Program, number: signal.Signals) -> None:
    code, seconds = program.stop(number)
    assert code == 0
    assert seconds < STOP_SECONDS


@SIGNALS
def test_a_signal_ends_it_in_time(kafka: Kafka, tmp_path: Path, number: signal.Signals) -> None:
    with cycling(kafka, tmp_path) as program:
        ends_in_time(program, number)


@FRAGILE
@SIGNALS
def test_a_signal_ends_it_in_time_while_the_broker_hangs(
    fragile_kafka: KafkaCluster, tmp_path: Path, number: signal.Signals
) -> None:
    with waiting_for_a_frozen_broker(fragile_kafka, tmp_path) as program:
        ends_in_time(program, number)


@SIGNALS
def test_a_signal_ends_it_in_time_while_clients_do_not_read(
    kafka: Kafka, driver: KafkaDriver, tmp_path: Path, number: signal.Signals
) -> None:
    with answering_clients_that_do_not_read(kafka, driver, tmp_path) as program:
        ends_in_time(program, number)


@FRAGILE
def test_check_says_in_time_that_a_broker_hangs(fragile_kafka: KafkaCluster, tmp_path: Path) -> None:
    ended = check_beside_a_frozen_broker(fragile_kafka, tmp_path)
    assert ended.code == 1
    assert "not reached" in ended.output
    assert ended.seconds < CHECK_SECONDS
