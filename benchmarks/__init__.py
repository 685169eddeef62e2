"""The benchmark harness: exporters side by side on one broker (`python -m benchmarks --help`)."""
