"""The Grafana dashboard, as Python makes it."""
