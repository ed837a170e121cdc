"""Measure networks on devices: transports, campaigns, records, store and statistics."""

from harness.version import __version__ as __version__
