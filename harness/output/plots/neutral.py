"""matplotlib apart from the user's settings: a figure looks the same whatever matplotlibrc, style or backend there is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLES = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}


@contextmanager
def neutral_style() -> Iterator[None]:
    """Draw with matplotlib's own defaults, and without the user's settings even where they keep it from being imported."""
    try:
        import matplotlib as mpl
    except (ValueError, OSError, UnicodeError):  # a backend or a file of settings that it cannot use
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # half of it was imported
        former = {name: os.environ.get(name) for name in _VARIABLES}
        os.environ.update(_VARIABLES)
        try:
            import matplotlib as mpl
        finally:
            for name, value in former.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
    with mpl.rc_context():
        mpl.rcdefaults()
        yield
