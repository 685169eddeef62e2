"""What befalls leaders, coordinators, topics and groups while all brokers run."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal

from tests.broker.driver import KafkaDriver
from tests.faults.estate import DOOMED, PARTITIONS, RESTLESS, TARGET, TOPIC, Estate
from tests.faults.meanwhile import meanwhile
from tests.soak.churn import Churn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.estate import Begin
    from tests.faults.observed import Moment, Observed


def moved(topic: str) -> Begin:
    @contextmanager
    def begin(estate: Estate, _: Observed | None) -> Iterator[None]:
        estate.move_leaders(topic)
        yield

    return begin


@contextmanager
def churned(estate: Estate, _: Observed | None) -> Iterator[None]:
    with Churn(estate.target.bootstrap_servers, alive=5, pause=0.1) as churn:
        yield
        churn.check()
    with KafkaDriver(estate.target.bootstrap_servers) as driver:
        for pair in churn.stop():
            driver.delete_group(pair.group)
            driver.delete_topic(pair.topic)


@contextmanager
def group_deleted(estate: Estate, _: Observed | None) -> Iterator[None]:
    # Of its own: one that outlived restarts of the brokers may wait for a coordinator that is no more.
    with KafkaDriver(estate.target.bootstrap_servers) as driver:
        driver.delete_group(DOOMED)
        try:
            yield
        finally:
            driver.commit(DOOMED, {(TOPIC, partition): 0 for partition in range(PARTITIONS)})


def doomed_is_gone(moments: Sequence[Moment], begun: float) -> None:
    updates = sorted({moment.last_update(TARGET) for moment in moments})
    # The cycle that was under way may have asked for its offsets before.
    first = next(number for number, update in enumerate(updates) if update > begun)
    updated = [moment for moment in moments if moment.last_update(TARGET) > updates[first]]
    assert updated
    assert [] == [moment for moment in updated if moment.rows(TARGET, DOOMED)]


def restless(
    protocol: Literal["classic", "consumer"],
) -> Begin:
    @contextmanager
    def begin(estate: Estate, _: Observed | None) -> Iterator[None]:
        def join_and_leave(stopping: threading.Event) -> None:
            while not stopping.is_set():
                with estate.driver.consuming(RESTLESS, [TOPIC], protocol=protocol):
                    pass

        with ExitStack() as members:
            # Two by turns beside one that stays: no assignment lasts.
            members.enter_context(meanwhile(join_and_leave))
            members.enter_context(meanwhile(join_and_leave))
            yield

    return begin


def restless_keeps_its_lag(moments: Sequence[Moment], begun: float) -> None:
    def lag(row: str) -> str:
        return row.rpartition(" ")[2]

    for moment in moments:
        rows = moment.rows(TARGET, RESTLESS)
        assert PARTITIONS == len(rows)
        assert 1 == len(set(map(lag, rows)))
    states = {
        moment.page.value("kafka_consumergroup_group_state", cluster_name=TARGET, group=RESTLESS)
        for moment in moments
    }
    assert len(states) > 1, f"the group never changed: {states}"
