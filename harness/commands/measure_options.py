"""The options of commands that measure: inputs of model files, and settings that `measure` and `pack` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.commands.option_groups import takes
from harness.commands.options import (
    CoreList,
    DevicesFile,
    EnergyFlag,
    ExpectedValues,
    FilesReference,
    InputShapes,
    InputValues,
    MeasuredBatches,
    MeasuredFormats,
    MeasuredPrecisions,
    MeasuredRuntimes,
    MeasuredThreads,
    MeasureLevel,
    MemoryFlag,
    OrderSeed,
    SessionCount,
    SignatureName,
    SpaceName,
    SustainedTime,
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
    expect: ExpectedValues = None
    signature: SignatureName = ""

    def given(self) -> GivenInputs:
        """Return the given inputs. Raises: ConfigError."""
        from harness.models.file_names import GivenInputs

        return GivenInputs.parse(self.shape or (), self.inputs, self.expect, self.signature)


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(InputOptions):
    """Options that `measure` and `pack` have in common, as given on the command line."""

    reference: FilesReference = None
    runtime: MeasuredRuntimes = None
    model_format: MeasuredFormats = None
    precision: MeasuredPrecisions = None
    batch: MeasuredBatches = ""
    threads: MeasuredThreads = None
    cores: CoreList = ""
    sessions: SessionCount = None
    memory: MemoryFlag = False
    energy: EnergyFlag = False
    sustained: SustainedTime = ""
    seed: OrderSeed = None
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
