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
DeviceName = Annotated[
    str,
    typer.Option(
        "--device", "-d", help="Device whose measurements to use. [default: local, or the configuration's]"
    ),
]
RuntimeName = Annotated[
    str,
    typer.Option("--runtime", "-r", help="Only this runtime, with or without :PROVIDER."),
]
ThreadCount = Annotated[
    int | None, typer.Option("--threads", "-t", min=1, help="Only measurements with so many threads.")
]
ConfigurationId = Annotated[
    str,
    typer.Option("--configuration", help="Only the configuration with this id; see 'harness results'."),
]
PriorId = Annotated[
    str,
    typer.Option(
        "--prior",
        help="Id of another configuration, of any device: its prediction helps where few networks are measured, from 10 on.",
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
