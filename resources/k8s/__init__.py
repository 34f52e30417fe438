"""Kubernetes behind the same seams as this machine: payloads, model servers and Dagster's own pods."""
