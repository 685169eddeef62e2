"""A leader that moves while its records are read."""

from __future__ import annotations

import trio
from tests.broker.cycles import PENALTY, cycles_of
from tests.broker.driver import KafkaDriver
from tests.broker.reading import PAST_MS
from tests.broker.waiting import unique

from stack.kafka import KafkaCluster

PARTITIONS = 12


async def test_a_leader_that_moves_in_the_middle_of_a_read_is_followed() -> None:
    name = unique("moving")
    with KafkaCluster(nodes=3) as cluster, KafkaDriver(cluster.bootstrap_servers) as driver:
        topic = driver.create_topic(name, PARTITIONS)
        for partition in range(PARTITIONS):
            driver.produce(topic, partition, 10, timestamp_ms=lambda i: PAST_MS + i)
        driver.commit(name, {(topic, partition): 3 for partition in range(PARTITIONS)})
        async with cycles_of(cluster.bootstrap_servers, name) as cycles:
            await cycles.run()
            driver.commit(name, {(topic, partition): 5 for partition in range(PARTITIONS)})
            rows = await cycles.run(cluster.nodes[0].stop)
            assert [5] * PARTITIONS == [row.lag for row in rows.values()]
            known = [row.time_lag for row in rows.values()]
            assert {cycles.last.now - (PAST_MS + 5) / 1000} >= set(known) - {None}
            assert known.count(None) == cycles.reads.unread_partitions == cycles.errors().total()

            def all_known() -> bool:
                return None not in [row.time_lag for row in rows.values()]

            deadline = trio.current_time() + 30
            while not all_known():
                assert trio.current_time() < deadline
                cycles.wait(20 * PENALTY)
                rows = await cycles.run()
            assert {cycles.last.now - (PAST_MS + 5) / 1000} == {row.time_lag for row in rows.values()}
