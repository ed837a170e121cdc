"""Where the weights of exported networks come from: drawn from a seed, or read from a checkpoint.

A `Weights` is a value that names weights without holding them; `exporters.networks` makes the tensors.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from exporters.calibration_images import CalibrationImages, named_images
from exporters.errors import ConversionError
from space import Architecture
from space.module_functions import code_digest

MAX_CHECKPOINT_BYTES = 1 << 30  # the largest network of Blox needs 15 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """Name a file with the trained weights of one architecture, and the images that int8 is calibrated on, if any.

    `code`: the digest of a user's modules, which may call other weights by the same names later; empty for Blox.
    """

    path: Path
    sha256: str
    architecture: Architecture
    calibration: CalibrationImages | None = None
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Name the weights of a space's fragments: exactly one of a seed and a checkpoint."""

    seed: int | None = None
    checkpoint: WeightsFile | None = None

    def __post_init__(self) -> None:
        if (self.seed is None) == (self.checkpoint is None):
            raise ValueError("weights: give exactly one of seed and checkpoint")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"weights: seed {self.seed} is negative; give a whole number from 0")

    @classmethod
    def seeded(cls, seed: int) -> Weights:
        """Return random weights of a realistic scale; equal seeds give equal weights under the same numpy (NEP 19)."""
        return cls(seed=seed)

    @classmethod
    def from_checkpoint(
        cls, path: Path | str, architecture: Architecture, *, calibration: Path | str | None = None
    ) -> Weights:
        """Return the weights in a file: a state_dict of `space.networks.build_network(architecture)`.

        `calibration` names a file of images for int8 (`exporters.calibration_images`).

        The file is read and hashed here; names and shapes in it are checked when a fragment is exported, so
        that weights whose fragments are cached need no torch.

        Raises:
            ConversionError: the file cannot be read or is too large for any network of a space, or the images do not fit.
        """
        path, chain = Path(path).absolute(), architecture.config.chain
        return cls(
            checkpoint=WeightsFile(
                path=path,
                sha256=checkpoint_digest(path),
                architecture=architecture,
                calibration=None if calibration is None else named_images(calibration, architecture.config),
                code="" if chain is None else code_digest(chain.folder),
            )
        )

    @property
    def identity(self) -> str:
        """A text that is equal for equal weights, also in files of other names."""
        if self.checkpoint is None:
            return f"seed {self.seed}"
        images = self.checkpoint.calibration
        calibrated = "" if images is None else f", calibrated on images {images.sha256}"
        code = f", of code {self.checkpoint.code}" if self.checkpoint.code else ""
        return f"checkpoint {self.checkpoint.sha256} of {self.checkpoint.architecture}{calibrated}{code}"


def checkpoint_digest(path: Path) -> str:
    """Return the sha256 of a checkpoint's bytes.

    Raises:
        ConversionError: the file cannot be read or is larger than `MAX_CHECKPOINT_BYTES`.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a FIFO may have no end
            raise ConversionError(
                f"checkpoint {path} is no plain file; name the file that torch.save or 'harness train' wrote"
            )
        size_bytes = path.stat().st_size
        if size_bytes > MAX_CHECKPOINT_BYTES:
            raise ConversionError(
                f"checkpoint {path} has {size_bytes} bytes, more than {MAX_CHECKPOINT_BYTES}; "
                "save the network's state_dict alone, without optimizer state"
            )
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConversionError(f"checkpoint {path} cannot be read: {error.strerror or error}") from error
