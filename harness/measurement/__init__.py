"""Measurement campaigns on devices: plan, workload, readiness checks, sessions, and profiles."""
