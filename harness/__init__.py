"""Measure networks on devices: transports, campaigns, records, store and statistics."""

__version__ = "0.1.0"
