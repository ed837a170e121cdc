"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.query.accuracies import VARIABLE
from space.user_paths import check_is_there

if TYPE_CHECKING:
    from harness.devices.config import Device
    from harness.store import Store

_is_hidden = False  # progress, by --quiet
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
DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        "-d",
        help="Device whose measurements to use; a pattern or a group, too. [default: local, or the configuration's]",
    ),
]
RuntimeName = Annotated[
    str,
    typer.Option("--runtime", "-r", help="Only this runtime, with or without :PROVIDER."),
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
        help="Only measurements and files of this search space, by its name or file. [default: their own]",
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


MeasuredRuntimes = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        "-r",
        help="onnxruntime[:PROVIDER], tflite or litert[:PROVIDER]; repeatable. [default: all there but litert]",
    ),
]
MeasuredFormats = Annotated[
    list[ModelFormat] | None,
    typer.Option("--format", help="Only runtimes of this model format; repeatable."),
]
MeasuredPrecisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        help="Precision of the models: fp32, fp16 or int8; repeatable. [default: the device's, else fp32]",
    ),
]
MeasuredBatches = Annotated[
    str,
    typer.Option(
        "--batch",
        help="Images of one run, e.g. 8 or 1,8,64: each is measured, and stored apart. [default: 1]",
    ),
]
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
SessionCount = Annotated[
    int | None,
    typer.Option(
        "--sessions",
        "-n",
        min=1,
        max=100,
        help="Sessions of each network. [default: the level's]",
    ),
]
OrderSeed = Annotated[
    int | None, typer.Option("--seed", help="Seed of the order of measurement. [default: random]")
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
ExpectedValues = Annotated[
    Path | None,
    typer.Option(
        "--expect",
        help="Right outputs of model files by name, an .npz file. [default: the file's own run on this machine]",
    ),
]
SignatureName = Annotated[
    str, typer.Option("--signature", help="Signature to run of TFLite files that have several.")
]
FilesReference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="The file that the files are timed beside. [default: a built-in network of like duration]",
    ),
]
MemoryFlag = Annotated[
    bool,
    typer.Option(
        "--memory",
        help="Measure peak memory, load and first run as well: each network alone in three fresh processes.",
    ),
]
EnergyFlag = Annotated[
    bool,
    typer.Option(
        "--energy",
        help="Measure the energy of an inference as well, where the device has a sensor: some three minutes a network.",
    ),
]
SustainedTime = Annotated[
    str,
    typer.Option(
        "--sustained",
        metavar="TIME",
        help="Instead: keep the device busy with each network for this time, e.g. 30m, and show its latency minute by minute "
        "with temperature and clocks.",
    ),
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
WideFlag = Annotated[
    bool,
    typer.Option(
        "--wide",
        help="Show every column of tables, however wide. [default: those that fit the terminal; all in a file or a pipe]",
    ),
]


AccuracyPaths = Annotated[
    list[str] | None,
    typer.Option(
        "--accuracies",
        "-a",
        envvar=VARIABLE,
        help="Accuracies: published blox-base/blox-ext files or a folder of them, or a CSV or Parquet table of your own, "
        "or NAS-Bench-Macro's JSON; repeatable. 'synthetic' stands for made-up ones, to try.",
    ),
]
Metric = Annotated[
    str,
    typer.Option(
        "--metric", help="Which accuracy to search by, e.g. test_top1. [default: val_top1, if there]"
    ),
]
Epoch = Annotated[
    str,
    typer.Option("--epoch", help="Epoch of the accuracies: best (by validation), last, or a number from 1."),
]
TrainingSeeds = Annotated[
    list[int] | None,
    typer.Option(
        "--training-seed", min=0, help="Only trainings with this seed; repeatable. [default: the mean of all]"
    ),
]
AccuracySd = Annotated[
    float | None,
    typer.Option(
        "--accuracy-sd",
        min=0.0,
        max=100.0,
        help="Standard deviation of an accuracy between trainings, in points: networks within it tie. [default: from the seeds]",
    ),
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read .pickle files, too (nothing in them is run).")
]
LatencyFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--latencies",
        exists=False,
        help="A blox-bench-DEVICE file, or a folder of them: that device's latencies, instead of the store's; repeatable.",
    ),
]
SearchDevices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        "-d",
        help="A device whose latencies to show, and to limit with --max-latency; DEVICE:RUNTIME, DEVICE:PRECISION or a "
        "configuration's id where a device has several; a pattern, a group, or all; repeatable.",
    ),
]
MaxLatency = Annotated[
    str,
    typer.Option("--max-latency", help="Upper limit on every --device, or on local, with a unit, e.g. 8ms."),
]
Constraints = Annotated[
    list[str] | None,
    typer.Option(
        "--constraint",
        "-c",
        help="A limit such as 'pixel<8ms', 'pi4:tflite<40ms', 'pixel:memory<50MB', 'pixel:energy<50mJ', 'params<3M', "
        "'macs<200M', 'memory<12MB', 'onnx-size<10MB' or 'tflite-size<10MB'; repeatable.",
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        "--confidence",
        help="Hold the upper end of each latency's interval of this coverage to the limit, e.g. 0.95. [default: the estimate]",
    ),
]
MeasuredOnly = Annotated[
    bool, typer.Option("--measured-only", help="Consider measured networks alone, no predicted ones.")
]
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


def compared_store(url: str, first: str, second: str) -> Store:
    """Open the store of --store to compare two networks, or to measure into where they are model files."""
    from harness.query.compare_files import open_compared

    return open_compared(url, first, second, log)


def named_devices(names: Sequence[str] | None, devices_file: Path | None) -> tuple[Device, ...]:
    """Return the devices of --device, each once, `local` where none is named. Raises: ConfigError."""
    from harness.devices.names import select_devices

    return select_devices(names or (), devices_file)


def patience_s(wait: bool, limit: str) -> float:
    """Return how long to wait for a device in use, by --wait and --wait-limit. Raises: ConfigError for a bad time."""
    from harness.measurement.plan import parse_patience

    return parse_patience(limit) if limit else float("inf") if wait else 0.0


def named_device(text: str, devices_file: Path | None) -> Device:
    """Return the one device of --device. Raises: ConfigError, also for a pattern or group of several."""
    from harness.devices.names import select_one

    return select_one(text, devices_file)


def hide_progress(hidden: bool) -> None:
    """Hide progress from here on, as --quiet asks, or show it again."""
    global _is_hidden
    _is_hidden = hidden


def is_quiet(json_output: bool) -> bool:
    """Return whether progress is hidden: by --quiet, or for a program that reads JSON where standard error is no terminal."""
    return _is_hidden or (json_output and not sys.stderr.isatty())


def log(text: str, *, quiet: bool = False) -> None:
    """Print a line on standard error, unless `quiet`."""
    from harness.output.terminal import echo

    if not quiet:
        echo(text, err=True)


def open_store_to_change(url: str) -> Store:
    """Open the existing store of --store, to change its records."""
    from harness.store.opening import open_to_change

    return open_to_change(url)
