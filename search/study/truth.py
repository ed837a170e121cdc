"""The study's ground truth: fully trained networks, read from a published-format file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from space import SpaceConfig
from space.accuracies.accuracies import SYNTHETIC
from space.dataset import Dataset, read_dataset
from space.errors import ConfigError, DatasetError
from space.indexing import FloatArray
from space.text import counted

SHIPPED = Path(__file__).parent / "ground_truth"
FEWEST = 20  # networks: fewer do not distinguish methods
COLUMNS = ("val_top1", "test_top1", "train_time_s")
_ARRAYS = ("indices", "val", "tests", "seconds")
_PLAIN = ("dataset", "epochs", "seed", "origin", "digest")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroundTruth:
    """Accuracies in percent of networks, at `indices`, int64 (n,) in canonical order, each trained with one or more seeds.

    `val`, (n,): on validation images at the best epoch of the first training, by which a method may choose. `tests`, (trainings,
    n): on test images, of each training; a method is judged by their mean, `test`. `seconds`, (n,), and `seed` are of the first
    training. `dataset` and `epochs` are the files'; `origin` names them and `digest` is their SHA-256.
    """

    config: SpaceConfig
    indices: NDArray[np.int64]
    val: FloatArray
    tests: FloatArray
    seconds: FloatArray
    dataset: str
    epochs: int
    seed: int
    origin: str
    digest: str

    @property
    def test(self) -> FloatArray:
        """The mean test accuracy over the trainings of each network, (n,)."""
        mean: FloatArray = self.tests.mean(axis=0)
        return mean

    @property
    def synthetic(self) -> bool:
        """Whether the images are made up."""
        return SYNTHETIC in self.dataset

    @property
    def label(self) -> str:
        """The label of every table, such as `120 trained networks of tiny, synthetic images`."""
        images = "synthetic images" if self.synthetic else f"images of {self.dataset}"
        return f"{len(self.indices)} trained networks of {self.config.name}, {images}"

    @property
    def best(self) -> int:
        """The position of the network with the best test accuracy; of equal ones the first."""
        return int(np.argmax(self.test))

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """The mask of these networks in the space, (len(config),)."""
        marks = np.zeros(len(self.config), dtype=np.bool_)
        marks[self.indices] = True
        return marks

    def places(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of networks of the space, (m,), among these. Raises: ValueError for one that is not here."""
        found = np.minimum(np.searchsorted(self.indices, indices), len(self.indices) - 1)
        if (self.indices[found] != indices).any():
            raise ValueError(f"networks {indices} are not all in {self.origin}")
        return found.astype(np.int64)

    def to_content(self) -> dict[str, Any]:
        """Return the ground truth as numbers and texts, an input of units of work."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {**arrays, **{name: getattr(self, name) for name in _PLAIN}, "space": self.config.name}

    @classmethod
    def from_content(cls, content: Mapping[str, Any], config: SpaceConfig) -> GroundTruth:
        """Return the ground truth of a content made by `to_content`."""
        arrays: dict[str, Any] = {name: np.array(content[name], dtype=np.float64) for name in _ARRAYS}
        arrays["indices"] = np.array(content["indices"], dtype=np.int64)
        return cls(config=config, **arrays, **{name: content[name] for name in _PLAIN})


def load_truth(config: SpaceConfig, paths: Sequence[Path] = ()) -> GroundTruth:
    """Read the `blox-base-SEED` files of a space, one a seed; without a path those that are shipped.

    Raises:
        ConfigError: there is no such file, one is damaged or of another kind, they hold too few networks, or other ones.
    """
    files = _base_files(paths)
    contents = [_read(path, config) for path in files]
    first, hasher = contents[0], hashlib.sha256()
    for path, found in zip(files, contents, strict=True):
        for what in ("dataset", "epochs"):
            if found.extra[what] != first.extra[what]:
                raise ConfigError(
                    f"ground truth {path}: its {what} is {found.extra[what]}, that of {files[0].name} {first.extra[what]}; "
                    "give trainings that differ in their seed alone"
                )
        if set(found.indices.tolist()) != set(first.indices.tolist()):
            raise ConfigError(
                f"ground truth {path}: holds other networks than {files[0].name}; train the same ones"
            )
        hasher.update(path.read_bytes())
    order = np.argsort(first.indices)
    return GroundTruth(
        config=config,
        indices=first.indices[order],
        val=np.array([np.max(one) for one in first.columns["val_top1"]])[order],
        tests=np.array([found.array("test_top1")[np.argsort(found.indices)] for found in contents]),
        seconds=first.array("train_time_s")[order].astype(np.float64),
        dataset=str(first.extra["dataset"]),
        epochs=int(first.extra["epochs"]),
        seed=int(first.extra["seed"]),
        origin=", ".join(path.name for path in files),
        digest=hasher.hexdigest(),
    )


def _read(path: Path, config: SpaceConfig) -> Dataset:
    try:
        found = read_dataset(path, config=config, columns=COLUMNS)
    except (OSError, DatasetError) as error:
        raise ConfigError(f"ground truth {error}") from error
    if found.dataset_type != "training" or found.extra.get("part") != "base":
        raise ConfigError(
            f"ground truth {path}: is no blox-base file; name the one that 'harness train' wrote"
        )
    if len(found) < FEWEST:
        raise ConfigError(
            f"ground truth {path}: holds {counted(len(found), 'network')}; train {FEWEST} or more"
        )
    return found


def _base_files(paths: Sequence[Path]) -> list[Path]:
    """Return the blox-base files of paths and of folders, each once."""
    found: dict[Path, None] = {}
    for path in paths or (SHIPPED,):
        found |= dict.fromkeys(sorted(path.glob("blox-base-*")) if path.is_dir() else [path])
    seeds = [path.stem for path in found]
    if not found or len(set(seeds)) < len(seeds):
        named = ", ".join(map(str, found)) or "none"
        raise ConfigError(
            f"ground truth: one blox-base file a seed is wanted, found in {', '.join(map(str, paths or (SHIPPED,)))}: {named}; "
            "make it with 'harness train sample:120@0 --space tiny --task synthetic:0:200/50/200 --output FOLDER'"
        )
    return list(found)
