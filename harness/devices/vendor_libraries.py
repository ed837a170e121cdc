"""Where the drivers of phones' GPUs lie: a table that is data. The device's agent tells which of its rows fits."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def vendor_rows() -> tuple[dict[str, Any], ...]:
    """Return the table's rows in its order, each with `vendor`, `shows`, `paths` and `source`."""
    text = files("harness.devices").joinpath("vendor_libraries.toml").read_text("utf-8")
    return tuple(tomllib.loads(text)["row"])


def vendor_libraries() -> list[dict[str, Any]]:
    """Return the rows as an agent is told them."""
    return [{key: value for key, value in row.items() if key != "source"} for row in vendor_rows()]
