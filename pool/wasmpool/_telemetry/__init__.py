"""Metrics and traces in the forms of OpenTelemetry and Prometheus."""
