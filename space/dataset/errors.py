"""The one error of published data files."""

from __future__ import annotations


class DatasetError(ValueError):
    """Say that a data file cannot be read or written, or that its content is not what it claims to be.

    The message names the file, the place in it, the reason and the remedy.
    """
