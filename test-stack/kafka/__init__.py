"""Starts a real Apache Kafka without Docker, for tests, the demo and by hand."""

from __future__ import annotations

from kafka.cluster import CURRENT, OLDEST, KafkaCluster
from kafka.errors import StackError
from kafka.node import KafkaNode

__all__ = ["CURRENT", "OLDEST", "KafkaCluster", "KafkaNode", "StackError"]
