"""Request of a measurement, checked where it is made: quickly, for nothing is imported here that measures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.devices.config import Device, named_runtime, parse_precision
from harness.measurement.plan import LEVELS, Options
from harness.models.file_names import GivenInputs, split_names
from space.atomic_files import check_folder
from space.errors import ConfigError, did_you_mean

DEFAULT_MODELS = "sample:20"


def parse_target(text: str) -> float:
    """Return the mean absolute percentage error of `mape=2%`, as a share. Raises: ConfigError."""
    match = re.fullmatch(r"mape=([0-9]+(?:\.[0-9]+)?)%", text.strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise ConfigError(
            f"--until {text!r}: write the mean absolute percentage error that is wanted, e.g. --until mape=2%"
        )
    return float(match[1]) / 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRequest:
    """Request of a measurement: of `models` on `devices`, or of what a predictor needs until it is as good as `until` says.

    `models`: as for `measure`, model files among them. `inputs`: what is given of these files' inputs; `reference`: the file that
    they are timed beside, None for a built-in network of like duration, or for the one that `beside` names by a file's key, a
    graph hash; `exchanged`: in as many sessions the files are the reference of that file. `until`: empty, or such as "mape=2%",
    on one device.
    `level`: empty is screen, and with `until` quick. The rest as in `harness.measurement.plan.Options`; `formats` and
    `precisions` are of models, `batches` the numbers of images of a run, `seed` is that of the order, `wait_s` for how long a
    device in use is waited for, without end if infinite.

    Raises: ConfigError for values that are unknown or contradict each other.
    """

    devices: tuple[Device, ...]
    models: tuple[str, ...] = ()
    inputs: GivenInputs = field(default_factory=GivenInputs)
    reference: Path | None = None
    beside: Mapping[str, str] = field(default_factory=dict)
    exchanged: bool = False
    until: str = ""
    level: str = ""
    runtimes: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    threads: int | None = None
    cores: tuple[int, ...] = ()
    sessions: int | None = None
    fresh: bool = False
    recalibrate: bool = False
    memory: bool = False
    energy: bool = False
    sustained_s: float = 0.0
    space: str = "blox"
    seed: int | None = None
    wait_s: float = 0.0

    def __post_init__(self) -> None:
        if self.sustained_s:
            self._check_sustained()
        if self.until:
            self._check_until()
        for text in self.runtimes:
            named_runtime(text)
        if not self.files and (self.inputs != GivenInputs() or self.reference is not None):
            raise ConfigError(
                "--shape, --inputs, --expect, --signature and --reference are for model files: name one, such as model.onnx"
            )
        for text in self.precisions:
            parse_precision(text)
        if self.files and self.precisions and not self.networks:
            raise ConfigError("--precision is of networks: a model file has its own, leave it out")
        if self.level not in ("", *LEVELS):
            near = did_you_mean(self.level, LEVELS)
            raise ConfigError(f"no level {self.level!r}{near} (known: {', '.join(LEVELS)})")

    def _check_until(self) -> None:
        """Refuse what does not go with a target of the predictor. Raises: ConfigError."""
        parse_target(self.until)
        if self.models:
            raise ConfigError("--until picks the networks itself: leave out --models, or --until")
        one_each = {
            "one device at a time: name one --device": self.devices,
            "one precision at a time: name one --precision": set(self.precisions),
            "one batch size at a time: name one with --batch": set(self.batches),
        }
        for text, values in one_each.items():
            if len(values) > 1:
                raise ConfigError(f"--until works on {text}")

    def _check_sustained(self) -> None:
        """Refuse what does not go with a run under load. Raises: ConfigError."""
        others = {
            "--until": self.until,
            "--level": self.level,
            "--sessions": self.sessions,
            "--recalibrate": self.recalibrate,
            "--memory": self.memory,
            "--energy": self.energy,
        }
        if given := [name for name, value in others.items() if value]:
            raise ConfigError(
                f"--sustained measures runs under load and nothing else: leave out {', '.join(given)}"
            )
        if not self.models:
            raise ConfigError("--sustained works on networks or files that are named, e.g. --models sample:3")

    @property
    def files(self) -> tuple[str, ...]:
        """The names among `models` that mean model files."""
        return tuple(split_names(self.models)[1])

    @property
    def networks(self) -> tuple[str, ...]:
        """The names among `models` that mean networks and segments; a sample where nothing is named."""
        return tuple(split_names(self.models or [DEFAULT_MODELS])[0])

    @property
    def options(self) -> Options:
        """The options of each device's campaign."""
        return Options(
            runtimes=self.runtimes,
            formats=self.formats,
            precisions=tuple(dict.fromkeys(map(parse_precision, self.precisions))),
            batches=tuple(dict.fromkeys(self.batches)),
            threads=self.threads,
            cores=self.cores,
            level=LEVELS[self.level or ("quick" if self.until else "screen")],
            sessions=self.sessions,
            fresh=self.fresh,
            recalibrate=self.recalibrate,
            memory=self.memory,
            energy=self.energy,
            sustained_s=self.sustained_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """Request of files blox-bench-NAME.FORMAT in a `folder`, for each of the `formats`.

    `name` is by default the device's, with a precision other than fp32 and a batch of several images behind it. `prior` and
    `doubtful` as for `harness.predict`; `measured_only` leaves predictions out.
    Raises: ConfigError for a folder that cannot be written to, a name that cannot be published, or what contradicts each other.
    """

    folder: Path
    prior: str = ""
    name: str = ""
    formats: tuple[str, ...] = ("blox", "csv", "pickle")
    measured_only: bool = False
    doubtful: bool = False

    def __post_init__(self) -> None:
        if self.measured_only and self.prior:
            raise ConfigError(
                "--prior helps to predict, and --measured-only leaves out what is predicted; name one of them"
            )
        check_folder(self.folder, "--output ")
        if self.name:
            check_device_name(self.name)


def check_device_name(name: str) -> None:
    """Raise ConfigError when a name of a device cannot be part of a published file's name."""
    if not re.fullmatch(r"[a-zA-Z0-9-]+", name):
        raise ConfigError(
            f"device name {name!r} cannot be published: letters, digits and dashes alone; give one with --name"
        )
