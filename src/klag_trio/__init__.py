"""klag-trio: a Kafka consumer-group lag exporter."""

__version__ = "0.1.0"
