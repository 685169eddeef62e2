"""What a board publishes, read by prometheus-client's parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from klag_trio.services.board import Board


def exported(board: Board, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by the values of these labels, which have to tell them apart."""
    content = b"".join(board.metrics(openmetrics=False).chunks).decode()
    samples = [
        sample
        for family in text_string_to_metric_families(content)
        for sample in family.samples
        if sample.name == name
    ]
    found = {tuple(sample.labels[label] for label in labels): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def by_cluster(board: Board, name: str) -> dict[str, float]:
    return {cluster: value for (cluster,), value in exported(board, name, "cluster_name").items()}


def lag(board: Board) -> dict[tuple[str, ...], float]:
    """The lag of every group, by cluster and group."""
    return exported(board, "kafka_consumergroup_group_sum_lag", "cluster_name", "group")
