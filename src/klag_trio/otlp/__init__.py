"""What is pushed to an OpenTelemetry collector, by OpenTelemetry's own SDK."""
