"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DevicesFile = Annotated[
    Path | None,
    typer.Option(
        "--devices", envvar="HARNESS_DEVICES", help="The devices file. [default: ./devices.toml if there]"
    ),
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="HARNESS_STORE",
        help="Store: a file or a SQLAlchemy URL. [default: your own SQLite file]",
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
