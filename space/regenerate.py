"""Regenerate the shipped table of graph hashes (about 20 s).

python -m space.regenerate
"""

from __future__ import annotations

import sys
from pathlib import Path

from space.graphhash import all_hashes
from space.hash_table import TABLE_OPS, TABLE_PATH, TABLE_STAGES


def write_table(path: Path) -> None:
    """Compute the hashes of the networks that the shipped table covers and write them to `path`."""
    path.write_bytes(all_hashes(TABLE_OPS, TABLE_STAGES))


if __name__ == "__main__":
    write_table(TABLE_PATH)
    sys.stderr.write(f"{TABLE_PATH}: written\n")
