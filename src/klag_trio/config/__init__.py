"""The configuration: TOML text in, one frozen Config or every mistake at once out."""

from .durations import format_duration, parse_duration
from .errors import ConfigError, Problem
from .load import load_config, read_config
from .properties import Properties
from .schema import Cluster, Config, Exporter, Leadership, Otel, Performance, TimestampSampling

__all__ = [
    "Cluster",
    "Config",
    "ConfigError",
    "Exporter",
    "Leadership",
    "Otel",
    "Performance",
    "Problem",
    "Properties",
    "TimestampSampling",
    "format_duration",
    "load_config",
    "parse_duration",
    "read_config",
]
