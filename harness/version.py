"""The version of harness, as in pyproject.toml."""

__version__ = "0.1.0"
