"""Starts a real Apache Kafka without Docker, for tests, the demo and by hand."""

from __future__ import annotations

from stack.kafka.cluster import CURRENT, OLDEST, KafkaCluster
from stack.kafka.errors import StackError
from stack.kafka.node import KafkaNode

__all__ = ["CURRENT", "OLDEST", "KafkaCluster", "KafkaNode", "StackError"]
