"""The one error of this package."""

from __future__ import annotations

from space.errors import HarnessError


class ConversionError(HarnessError):
    """A network or a fragment that could not be turned into a model file.

    The message names the fragment, file or package, the reason and the remedy.
    """

    exit_status = 4
