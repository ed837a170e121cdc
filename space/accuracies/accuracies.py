"""Accuracies of the networks of a space, with metric, epoch and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from space.architecture import BLOX
from space.config import SpaceConfig
from space.hash_table import network_key
from space.lookup import Named, canonical_index

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SYNTHETIC = "synthetic"  # the word that marks synthetic accuracies wherever they are read or shown


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Accuracies:
    """Accuracies of all networks of a space, in percent, in canonical order; of a space too large to list those of some.

    `values`, float64 (len(config),), are means over the seeds that a network was trained with, NaN where none was;
    `seed_counts`, int64 (len(config),), say how many those are. Of some networks both have one element for each of `indices`,
    canonical ones, rising. `metric` is a column's name such as `val_top1`; `epoch` is
    `best`, `last`, a number counted from 1, or empty where the metric has one value a training. `seed_sd` is the standard
    deviation between seeds of one network, pooled over the networks that have several; None where none has. `seed_freedom`: its
    degrees of freedom, None where it is not from these accuracies. `origin` names the files. `synthetic`: made up, to be
    shown with this word only. `notes` say what was noticed in reading, such as how many networks have fewer seeds than others.
    """

    metric: str
    epoch: str
    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    seed_counts: NDArray[np.int64]
    seed_sd: float | None
    origin: tuple[str, ...]
    synthetic: bool
    notes: tuple[str, ...] = ()
    config: SpaceConfig = BLOX
    indices: NDArray[np.int64] | None = None
    seed_freedom: int | None = None

    def at(self, architecture: Named) -> float | None:
        """Return the accuracy of one network, by any of its names; None where it has none.

        Raises:
            ArchitectureError: what was given names no network of the space.
        """
        place = canonical_index(architecture, self.config)
        if self.indices is not None:
            keys = [network_key(self.config, index) for index in self.indices.tolist()]
            key = network_key(self.config, place)
            if key not in keys:
                return None
            place = keys.index(key)
        value = self.values.item(place)
        return value if value == value else None  # NaN alone is not equal to itself

    @property
    def label(self) -> str:
        """Label of the values for people: `val_top1 (best epoch)`, always with the word synthetic where it applies."""
        epoch = {"": "", "best": " (best epoch)", "last": " (last epoch)"}.get(
            self.epoch, f" (epoch {self.epoch})"
        )
        word = "synthetic " if self.synthetic and SYNTHETIC not in self.metric else ""
        return f"{word}{self.metric}{epoch}"
