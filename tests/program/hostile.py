"""klag-trio beside two clusters, into one of which a stranger writes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
from tests.broker.driver import KafkaDriver
from tests.broker.waiting import unique
from tests.program.program import Program, config_text, running
from tests.program.scenes import up

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Kafka

LAG = "kafka_consumergroup_group_sum_lag"
TIME_LAG = "kafka_consumergroup_group_max_lag_seconds"
CYCLES = 2


@attrs.frozen
class Clusters:
    """klag-trio with two clusters: `hostile`, into which somebody writes, and `calm`."""

    program: Program
    kafka: Kafka
    name: str

    def group(self, name: str) -> bytes:
        """A group that is seen in the hostile cluster."""
        return f"{self.name}-hostile-{name}".encode()

    def survive(self) -> None:
        """Wait for cycles of both, with lag as it was and /health answering."""
        for _ in range(CYCLES):
            for cluster in ("hostile", "calm"):
                page = self.program.next_cycle(cluster)
                assert 200 == self.program.get("/health")[0]
                assert 1 == up(page, cluster)
                assert 7 == page.value(LAG, cluster_name=cluster, group=f"{self.name}-{cluster}")
        assert {} == self.program.metrics().rows("klag_errors_total", cluster_name="calm")

    def errors(self, stage: str) -> dict[str, float]:
        """The errors of a stage in the hostile cluster, by code."""
        rows = self.program.metrics().rows("klag_errors_total", cluster_name="hostile", stage=stage)
        return {dict(labels)["code"]: value for labels, value in rows.items()}


@contextmanager
def watching(
    kafka: Kafka,
    folder: Path,
    *,
    name: str = "",
    hostile: dict[str, Any] | None = None,
    **exporter: Any,
) -> Iterator[Clusters]:
    name = name or unique("strangers")
    clusters = []
    with KafkaDriver(kafka.bootstrap_servers) as driver:
        for which in ("hostile", "calm"):
            group = driver.create_topic(f"{name}-{which}")
            driver.produce(group, n=10)
            driver.commit(group, {(group, 0): 3})
            filters = {"group_whitelist": [f"^{group}"], "topic_whitelist": [f"^{group}"]}
            clusters.append({"name": which, "bootstrap_servers": kafka.bootstrap_servers, **filters})
    clusters[0].update(hostile or {})
    with running(folder, config_text(clusters, exporter)) as program:
        made = Clusters(program, kafka, name)
        made.survive()
        yield made
