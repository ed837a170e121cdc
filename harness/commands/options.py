"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from space.errors import ConfigError
from space.user_paths import check_is_there

if TYPE_CHECKING:
    from harness.devices.config import Device
    from harness.store import Store
    from harness.store.configurations import ConfigurationChoice


def check_one_format(csv_output: bool, json_output: bool) -> None:
    """Raise ConfigError when both are asked for: standard output holds one of them."""
    if csv_output and json_output:
        raise ConfigError("--csv and --json: standard output takes one of them; leave the other out")


def checked_by(check: Callable[[str], object]) -> Callable[[Any], Any]:
    """Return the callback of an option whose texts, one or several, `check` refuses, before anything is loaded."""

    def checked(given: str | Sequence[str] | None) -> str | Sequence[str] | None:
        for text in [given] if isinstance(given, str) else given or ():
            if text:
                check(text)
        return given

    return checked


def check_runtime(text: str) -> None:
    """Raise ConfigError for a text of --runtime that names none."""
    from harness.devices.config import named_runtime

    named_runtime(text)


DevicesFile = Annotated[
    Path | None,
    typer.Option(
        "--devices",
        envvar="HARNESS_DEVICES",
        callback=check_is_there,
        help="The devices file. [default: ./devices.toml if there]",
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        "-d",
        help="Device of devices.toml, a pattern such as 'pixel*', a group, or all; repeatable. [default: local]",
    ),
]
OneDevice = Annotated[str, typer.Option("--device", "-d", help="Device of devices.toml.")]
StoredDevices = Annotated[
    list[str] | None,
    typer.Option("--device", "-d", help="Only this device, pattern, or group of devices.toml; repeatable."),
]
WaitFlag = Annotated[
    bool,
    typer.Option("--wait", help="Wait for a device that another campaign uses. [default: for 10 s]"),
]
WaitLimit = Annotated[
    str,
    typer.Option("--wait-limit", metavar="TIME", help="Wait for it at most this long, e.g. 90s, 30m or 8h."),
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="HARNESS_STORE",
        help="Store: a file or a SQLAlchemy URL. [default: your own SQLite file]",
    ),
]
RuntimeName = Annotated[
    str,
    typer.Option(
        "--runtime",
        "-r",
        callback=checked_by(check_runtime),
        help="Only this runtime, with or without :PROVIDER.",
    ),
]
ThreadCount = Annotated[
    int | None, typer.Option("--threads", "-t", min=1, help="Only measurements with this number of threads.")
]
ShownModels = Annotated[
    list[str] | None,
    typer.Option("--models", "-m", help="Only these networks; written as for 'harness measure'."),
]
StoredPrecision = Annotated[
    str,
    typer.Option("--precision", help="Only measurements of models in this precision: fp32, fp16 or int8."),
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
SpaceName = Annotated[
    str,
    typer.Option(
        "--space", help="Search space of the networks: blox, mini, tiny, deep, or the TOML file of your own."
    ),
]
StoredSpace = Annotated[
    str,
    typer.Option(
        "--space",
        help="Only measurements and files of this search space, by its name or file. [default: their own, of several blox]",
    ),
]
FigureFile = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="Write a figure for print to this file: PNG, SVG or PDF by its suffix; its numbers go beside it, NAME.data.csv.",
    ),
]


class MeasureLevel(StrEnum):
    """Measuring effort for a network: see harness.measurement.plan."""

    quick = "quick"
    screen = "screen"
    final = "final"


class ModelFormat(StrEnum):
    """The format of the models that a runtime runs."""

    onnx = "onnx"
    tflite = "tflite"


OneBatch = Annotated[int, typer.Option("--batch", min=1, help="Images of one run.")]
StoredBatch = Annotated[
    int | None,
    typer.Option(
        "--batch", min=1, help="Only measurements of runs of this many images. [default: 1, or the id's]"
    ),
]
MeasuredThreads = Annotated[
    int | None, typer.Option("--threads", "-t", min=1, help="Threads of one inference. [default: 1]")
]
CoreList = Annotated[
    str,
    typer.Option(
        "--cores",
        help="Cores to run on, e.g. 4-7 or 0,2; one thread each without --threads. [default: of the fastest cluster]",
    ),
]
InputShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        help="Sizes of an input that a model file leaves free, e.g. input=1,3,224,224; repeatable.",
    ),
]
InputValues = Annotated[
    Path | None,
    typer.Option(
        "--inputs", help="Values of a model file's inputs by name, an .npz file. [default: fixed values]"
    ),
]
SignatureName = Annotated[
    str, typer.Option("--signature", help="Signature to run of TFLite files that have several.")
]
SustainedPlot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw runs under load (--sustained) to this file, PNG, SVG or PDF by its suffix; its numbers go beside it, "
        "NAME.data.csv.",
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


TakeDoubtful = Annotated[
    bool, typer.Option("--doubtful", help="Take in measurements of grade D. [default: left out, and counted]")
]
ProxyPool = Annotated[
    int, typer.Option("--proxy-pool", min=1, help="Random networks that a zero-cost proxy chooses from.")
]
ProxyBatch = Annotated[
    Path | None,
    typer.Option(
        "--proxy-batch",
        metavar="FILE.npz",
        help="Images and labels for proxies to score with, as arrays 'images' and 'labels'. [default: digits]",
    ),
]


def open_store(url: str, *, writes: bool = False) -> Store:
    """Open the store of --store for reading, and to add to it where the command `writes`.

    A note on standard error says if the store of $HARNESS_STORE does not exist yet.
    """
    from harness.store.opening import open_existing

    return open_existing(url, log, writes=writes)


def make_store(url: str) -> Store:
    """Open the store of --store to measure into; a file that is not there is made."""
    from harness.store.opening import open_store

    return open_store(url)


def open_store_to_change(url: str) -> Store:
    """Open the existing store of --store, to change its records."""
    from harness.store.opening import open_to_change

    return open_to_change(url)


def named_devices(names: Sequence[str] | None, devices_file: Path | None) -> tuple[Device, ...]:
    """Return the devices of --device, each once, `local` where none is named. Raises: ConfigError."""
    from harness.devices.names import select_devices

    return select_devices(names or (), devices_file)


def named_device(text: str, devices_file: Path | None) -> Device:
    """Return the one device of --device. Raises: ConfigError, also for a pattern or group of several."""
    from harness.devices.names import select_one

    return select_one(text, devices_file)


def check_stored(store: Store, choice: ConfigurationChoice) -> None:
    """Raise ConfigError for a choice that names what is not stored, before what computes is loaded."""
    from harness.store.configurations import select_configurations

    select_configurations(store, choice)


def patience_s(wait: bool, limit: str) -> float:
    """Return how long to wait for a device in use, by --wait and --wait-limit. Raises: ConfigError for a bad time."""
    from harness.measurement.plan import parse_time

    return parse_time(limit, "--wait-limit") if limit else float("inf") if wait else 0.0


def log(text: str) -> None:
    """Print a line on standard error."""
    from harness.output.terminal import echo

    echo(text, err=True)


def log_progress(text: str) -> None:
    """Print a line on standard error, where progress is shown."""
    from harness.output.terminal import console

    if not console.is_quiet:
        log(text)
