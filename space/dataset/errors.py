"""The error of data files, and its kind where nothing is wrong but that something is not there."""

from __future__ import annotations


class DatasetError(ValueError):
    """Say that a data file cannot be read or written, or that its content is not what it claims to be.

    The message names the file, the place in it, the reason and the remedy.
    """


class MissingMetric(DatasetError):
    """Say that files are whole, and hold no accuracy of the name or seeds that were asked for."""
