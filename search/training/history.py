"""The history of a training: the figures of each epoch, and which epoch counts; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from search.statistics import Estimate, accuracy_interval

TOP = 5  # a class among the first five counts for top-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of a network on some images: mean loss, and the number classified right.

    `first` counts the images whose class had the highest logit, `among_five` those whose class had one of the five highest.
    Counts, not shares, are kept: published files hold counts.
    """

    images: int
    loss: float
    first: int
    among_five: int

    @property
    def top1(self) -> float:
        """The images classed right, in percent."""
        return self.first / self.images * 100

    @property
    def top1_interval(self) -> Estimate:
        """The images classed right, in percent, with the 95 % interval due to the number of images.

        It holds for images that chose neither the network nor its weights.
        """
        return accuracy_interval(self.first, self.images)

    @property
    def top5(self) -> float:
        """The images whose class was among the first five, in percent."""
        return self.among_five / self.images * 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Figures of an epoch; `number` counts from 1, `rate` is its learning rate.

    `train` is counted during the epoch, on augmented images, each batch before its own step; `val` after the epoch, with the
    running means of BatchNorm. Times, in nanoseconds, do not count in comparisons.
    """

    number: int
    rate: float
    train: Figures
    val: Figures
    train_ns: int = field(compare=False)
    val_ns: int = field(compare=False)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Epoch:
        """Return the epoch of a dictionary made by `dataclasses.asdict`."""
        return cls(**{**values, "train": Figures(**values["train"]), "val": Figures(**values["val"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDone:
    """Progress of a training or a distillation: epoch `number` of `epochs` is over, from 1.

    `val` are the figures of one network on validation images, `loss` is that of the training images, where known. Blocks of a
    stage are distilled in groups that fit into memory: the epoch was of `blocks` blocks from the place `first` on, of `of` blocks
    in all; 0 where it was of all.
    """

    number: int
    epochs: int
    val: Figures | None = None
    loss: float | None = None
    first: int = 0
    blocks: int = 0
    of: int = 0

    @property
    def share(self) -> Fraction:
        """The finished share of the whole work."""
        whole = Fraction(self.number, self.epochs)
        return (self.first + self.blocks * whole) / self.of if self.of else whole

    def __str__(self) -> str:
        group = f"blocks {self.first + 1} to {self.first + self.blocks} of {self.of}, " if self.of else ""
        val = "" if self.val is None else f", {self.val.top1:.1f}% of validation images right"
        loss = "" if self.loss is None else f", loss {self.loss:.3g}"
        return f"{group}epoch {self.number} of {self.epochs}{val}{loss}"


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """Return the epoch of the highest top-1 on the validation images; of equal ones the lowest loss, then the first."""
    return max(history, key=lambda epoch: (epoch.val.first, -epoch.val.loss))
