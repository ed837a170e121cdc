"""The one error of this package."""

from __future__ import annotations


class ConversionError(RuntimeError):
    """Say that a network or a fragment could not be turned into a model file.

    The message names the fragment, file or package, the reason and the remedy.
    """
