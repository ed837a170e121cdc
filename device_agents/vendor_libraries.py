"""A GPU driver's folders on Android, where no linker looks by itself: those that this device has, by a table of the harness.

A row has `vendor`; `shows`, files of which one shows that the row fits; `paths`, folders in the order of LD_LIBRARY_PATH. In both
`{lib}` is `lib64`, or `lib` of a 32-bit Python, and `{chip}` a folder of any name; in `paths`, `{prefix}` is Termux's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Mapping

from device_agents.fields import Fields, refuse

VARIABLE = "LD_LIBRARY_PATH"
ROWS_LIMIT = 64
LISTS = ("shows", "paths")
CHIP = "{chip}"


def parse_rows(fields: Fields) -> list[dict[str, Any]]:
    """Read `vendor_libraries`, the table's rows; none where none are given. Raises: Refusal."""
    given = fields.values.get("vendor_libraries")
    if given is None:
        return []
    name = fields.name + ": vendor_libraries"
    if not isinstance(given, list) or len(given) > ROWS_LIMIT:
        raise refuse(name, given, "a list of at most %d rows" % ROWS_LIMIT)
    for row in given:
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("vendor"), str)
            or not all(map(row.get, LISTS))
        ):
            raise refuse(name, row, "an object with vendor, shows and paths")
        for path in [one for key in LISTS for one in row[key]]:
            if not isinstance(path, str) or not path.startswith(("/", "{prefix}/")) or "\0" in path:
                raise refuse(name, path, "a path from the root on")
    return list(given)


def find_driver(rows: list[dict[str, Any]], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the first row that fits: `vendor`, `shown_by`, and `variables` or `trouble`; nothing where none fits.

    given: variables that the user named, which win.
    """
    for row in rows:
        shown = sorted(found for path in row["shows"] for found in matches(path))
        if not shown:
            continue
        driver = {"vendor": row["vendor"], "shown_by": shown[0][0]}
        chips = sorted({chip for _, chip in shown})
        if VARIABLE in given:
            return dict(driver, trouble="environment names %s" % VARIABLE)
        if len(chips) > 1:
            return dict(driver, trouble="it has folders of %d chips: %s" % (len(chips), ", ".join(chips)))
        filled = [fill(path).replace(CHIP, chips[0]) for path in row["paths"]]
        folders = [path for path in filled if Path(path).is_dir()]
        return dict(driver, variables={VARIABLE: os.pathsep.join(folders)})
    return {}


def matches(path: str) -> list[tuple[str, str]]:
    """Return the files that a path of `shows` names, each with its chip's folder, empty where it names none."""
    pattern = fill(path)
    place = Path(pattern).parts.index(CHIP) if CHIP in Path(pattern).parts else None
    found = Path("/").glob(pattern.replace(CHIP, "*").lstrip("/"))
    return [(str(one), "" if place is None else one.parts[place]) for one in found]


def fill(path: str) -> str:
    """Return a path with what is of this Python and of Termux put in."""
    lib = "lib64" if sys.maxsize > 1 << 32 else "lib"
    return path.replace("{lib}", lib).replace("{prefix}", os.environ.get("PREFIX", "/nowhere"))
