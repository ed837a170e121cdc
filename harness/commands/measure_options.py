"""The options of commands that measure: inputs of model files, and settings that `measure` and `pack` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.option_groups import takes
from harness.commands.options import (
    CoreList,
    DevicesFile,
    InputShapes,
    InputValues,
    MeasuredThreads,
    MeasureLevel,
    ModelFormat,
    SignatureName,
    SpaceName,
    check_runtime,
    checked_by,
)

if TYPE_CHECKING:
    from harness.devices.config import Device
    from harness.models.file_names import GivenInputs
    from harness.prediction.request import MeasureRequest


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Options on the inputs of model files, as given on the command line."""

    shape: InputShapes = None
    inputs: InputValues = None
    expect: Annotated[
        Path | None,
        typer.Option(
            "--expect",
            help="Right outputs of model files by name, an .npz file. [default: the file's own run on this machine]",
        ),
    ] = None
    signature: SignatureName = ""

    def given(self) -> GivenInputs:
        """Return the given inputs. Raises: ConfigError."""
        from harness.models.file_names import GivenInputs

        return GivenInputs.parse(self.shape or (), self.inputs, self.expect, self.signature)


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(InputOptions):
    """Options that `measure` and `pack` have in common, as given on the command line."""

    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            help="The file that the files are timed beside. [default: a built-in network of like duration]",
        ),
    ] = None
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            "-r",
            callback=checked_by(check_runtime),
            help="onnxruntime[:PROVIDER], tflite or litert[:PROVIDER]; repeatable. [default: all there but litert]",
        ),
    ] = None
    model_format: Annotated[
        list[ModelFormat] | None,
        typer.Option("--format", help="Only runtimes of this model format; repeatable."),
    ] = None
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            help="Precision of the models: fp32, fp16 or int8; repeatable. [default: the device's, else fp32]",
        ),
    ] = None
    batch: Annotated[
        str,
        typer.Option(
            "--batch",
            help="Images of one run, e.g. 8 or 1,8,64: each is measured, and stored apart. [default: 1]",
        ),
    ] = ""
    threads: MeasuredThreads = None
    cores: CoreList = ""
    sessions: Annotated[
        int | None,
        typer.Option(
            "--sessions",
            "-n",
            min=1,
            max=100,
            help="Sessions of each network. [default: the level's]",
        ),
    ] = None
    memory: Annotated[
        bool,
        typer.Option(
            "--memory",
            help="Measure peak memory, load and first run as well: each network alone in three fresh processes.",
        ),
    ] = False
    energy: Annotated[
        bool,
        typer.Option(
            "--energy",
            help="Measure the energy of an inference as well, where the device has a sensor: some three minutes a network.",
        ),
    ] = False
    sustained: Annotated[
        str,
        typer.Option(
            "--sustained",
            metavar="TIME",
            help="Instead: keep the device busy with each network for this time, e.g. 30m, and show its latency minute by minute "
            "with temperature and clocks.",
        ),
    ] = ""
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the order of measurement. [default: random]")
    ] = None
    space: SpaceName = "blox"
    devices_file: DevicesFile = None

    def request(
        self, devices: Sequence[Device], models: Sequence[str], level: MeasureLevel | None, **others: Any
    ) -> MeasureRequest:
        """Return the request of a measurement; `others` are fields that only some commands give.

        Raises: ConfigError for what cannot be read, or as `MeasureRequest`.
        """
        from harness.devices.runtimes import parse_cores
        from harness.measurement.plan import parse_batches, parse_sustained
        from harness.models.names import check_names
        from harness.prediction.request import MeasureRequest

        check_names(models, self.space)
        return MeasureRequest(
            devices=tuple(devices),
            models=tuple(models),
            inputs=self.given(),
            reference=self.reference,
            level=level or "",
            runtimes=tuple(self.runtime or ()),
            formats=tuple(self.model_format or ()),
            precisions=tuple(self.precision or ()),
            batches=parse_batches(self.batch),
            threads=self.threads,
            cores=parse_cores(self.cores),
            sessions=self.sessions,
            memory=self.memory,
            energy=self.energy,
            sustained_s=parse_sustained(self.sustained),
            space=self.space,
            seed=self.seed,
            **others,
        )


takes_inputs = takes(InputOptions, "of_files")  # gives a command these options
takes_measuring = takes(MeasureOptions, "options")  # gives a command these options
