"""The study's ground truth: networks that were trained far enough to be compared, read from a published-format file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from search.study.intervals import FloatArray
from space import SpaceConfig
from space.accuracies import SYNTHETIC
from space.dataset import DatasetError, read_dataset

SHIPPED = Path(__file__).parent / "ground_truth"
FEWEST = 20  # networks: of fewer, methods are told apart by nothing
COLUMNS = ("val_top1", "test_top1", "train_time_s")
_ARRAYS = ("indices", "val", "test", "seconds")
_PLAIN = ("dataset", "epochs", "seed", "origin", "digest")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroundTruth:
    """Accuracies in percent of the networks at `indices`, int64 (n,) in canonical order, each trained once.

    `val`, (n,): of the best epoch on the validation images, by which a method may choose. `test`, (n,): by which it is judged.
    `seconds`, (n,): of the training. `dataset`, `epochs` and `seed` are the file's; `origin` names it and `digest` is its
    SHA-256.
    """

    config: SpaceConfig
    indices: NDArray[np.int64]
    val: FloatArray
    test: FloatArray
    seconds: FloatArray
    dataset: str
    epochs: int
    seed: int
    origin: str
    digest: str

    @property
    def synthetic(self) -> bool:
        """Whether the images are made up."""
        return SYNTHETIC in self.dataset

    @property
    def label(self) -> str:
        """What every table is of: `120 trained networks of tiny, synthetic images`."""
        images = "synthetic images" if self.synthetic else f"images of {self.dataset}"
        return f"{len(self.indices)} trained networks of {self.config.name}, {images}"

    @property
    def best(self) -> int:
        """The place, among the networks here, of the first that tests best."""
        return int(np.argmax(self.test))

    @property
    def allowed(self) -> NDArray[np.bool_]:
        """Which networks of the space these are, (len(config),)."""
        marks = np.zeros(len(self.config), dtype=np.bool_)
        marks[self.indices] = True
        return marks

    def places(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where networks of the space, (m,), stand among these. Raises: ValueError for one that is not here."""
        found = np.minimum(np.searchsorted(self.indices, indices), len(self.indices) - 1)
        if (self.indices[found] != indices).any():
            raise ValueError(f"networks {indices} are not all in {self.origin}")
        return found.astype(np.int64)

    def to_content(self) -> dict[str, Any]:
        """Return it as numbers and texts, which units of work take as an input."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {**arrays, **{name: getattr(self, name) for name in _PLAIN}, "space": self.config.name}

    @classmethod
    def from_content(cls, content: Mapping[str, Any], config: SpaceConfig) -> GroundTruth:
        """Return it from what `to_content` gave."""
        arrays: dict[str, Any] = {name: np.array(content[name], dtype=np.float64) for name in _ARRAYS}
        arrays["indices"] = np.array(content["indices"], dtype=np.int64)
        return cls(config=config, **arrays, **{name: content[name] for name in _PLAIN})


def load_truth(config: SpaceConfig, paths: Sequence[Path] = ()) -> GroundTruth:
    """Read `blox-base-SEED` of a space; without a path the file that is shipped.

    Raises:
        ConfigError: there is no such file, it is damaged or of another kind, or holds too few networks.
    """
    path = _one_file(paths)
    try:
        data = path.read_bytes()
        found = read_dataset(path, config=config, columns=COLUMNS)
    except (OSError, DatasetError) as error:
        raise ConfigError(f"ground truth {path}: cannot be read: {error}") from error
    if found.dataset_type != "training" or found.extra.get("part") != "base":
        raise ConfigError(
            f"ground truth {path}: is no blox-base file; name the one that 'harness train' wrote"
        )
    if len(found) < FEWEST:
        raise ConfigError(f"ground truth {path}: holds {len(found)} networks; train {FEWEST} or more")
    order = np.argsort(found.indices)
    val = found.columns["val_top1"]
    best = np.array([np.max(one) for one in val])
    return GroundTruth(
        config=config,
        indices=found.indices[order],
        val=best[order],
        test=found.array("test_top1")[order],
        seconds=found.array("train_time_s")[order].astype(np.float64),
        dataset=str(found.extra["dataset"]),
        epochs=int(found.extra["epochs"]),
        seed=int(found.extra["seed"]),
        origin=path.name,
        digest=hashlib.sha256(data).hexdigest(),
    )


def _one_file(paths: Sequence[Path]) -> Path:
    """Return the blox-base file that is meant: of a folder, the one in it."""
    found: list[Path] = []
    for path in paths or (SHIPPED,):
        found.extend(sorted(path.glob("blox-base-*")) if path.is_dir() else [path])
    if len(found) != 1:
        named = ", ".join(map(str, found)) or "none"
        raise ConfigError(
            f"ground truth: one blox-base file is wanted, found in {', '.join(map(str, paths or (SHIPPED,)))}: {named}; "
            "make it with 'harness train sample:120@0 --space tiny --task synthetic:0:200/50/200 --output FOLDER'"
        )
    return found[0]
