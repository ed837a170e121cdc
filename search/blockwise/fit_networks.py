"""The networks that a predictor is fitted to: fine-tuned from the library, as DONNA publishes it, or trained from scratch.

DONNA (Moons et al. 2021, arXiv:2012.08859) assembles random networks of the space from the library, fine-tunes them, and fits
their accuracies. The library and the fit then serve any limits and devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, prod
from typing import TYPE_CHECKING

import numpy as np

from search.blockwise.predictor_kinds import FINE_TUNED, SCRATCH
from search.work.flops import guided_flops, network_flops
from space import Architecture
from space.indexing import FloatArray, IndexArray

if TYPE_CHECKING:
    from search.blockwise.search import FineTune
    from search.distillation.block_library import BlockLibrary


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAccuracies:
    """Validation accuracies (n,) of trained networks, `indices` (n,), in percent, and their files.

    `kind`: one of `FITS`. `epochs`, (n,): the epochs from scratch of each, over all its trainings; None where unknown.
    """

    indices: IndexArray
    accuracies: FloatArray
    origin: tuple[str, ...]
    kind: str = SCRATCH
    epochs: IndexArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitCost:
    """Cost of training some networks: images that they learn from, epoch by epoch, and FLOPs."""

    images: int
    flops: float


def sample_networks(library: BlockLibrary, count: int, seed: int) -> list[Architecture]:
    """Return `count` different random networks of the library's blocks, each equally likely; all of them where there are fewer.

    With a larger count the first networks stay the same.

    Raises:
        ConfigError: a stage was not distilled.
    """
    config = library.config
    choices = [library.stage(place).blocks for place in range(config.stages)]
    rng = np.random.default_rng((seed, 3))
    found: dict[Architecture, None] = {}
    while len(found) < min(count, prod(map(len, choices))):
        blocks = tuple(row[int(rng.integers(len(row)))] for row in choices)
        found[Architecture(blocks=blocks, config=config)] = None
    return list(found)


def fine_tuned_accuracies(library: BlockLibrary, count: int, seed: int, tune: FineTune) -> KnownAccuracies:
    """Fine-tune random networks of a library and return their validation accuracies."""
    networks = sample_networks(library, count, seed)
    trained = tune(networks)
    return KnownAccuracies(
        indices=np.array([one.index for one in networks], dtype=np.int64),
        accuracies=np.array([one.best.val.top1 for one in trained]),
        origin=(f"networks fine-tuned from library {library.digest[:12]}",),
        kind=FINE_TUNED,
    )


def fit_costs(
    library: BlockLibrary, known: KnownAccuracies, *, images: int, fine_tune_epochs: int
) -> Mapping[str, FitCost]:
    """Return the cost of training a fit's networks, fine-tuned and from scratch; the cost of its own kind was paid.

    Fine-tuning, with the teacher, takes `images` for `fine_tune_epochs`. Training from scratch takes them for the known epochs of
    each network, or, of fine-tuned networks, for those of the teacher's recipe; it is left out where epochs are unknown.
    """
    config, teacher = library.config, library.teacher.architecture.index
    networks: list[int] = known.indices.tolist()
    found = {
        FINE_TUNED: FitCost(
            images=images * fine_tune_epochs * len(networks),
            flops=fsum(guided_flops(config, one, teacher, images, fine_tune_epochs) for one in networks),
        )
    }
    epochs: Sequence[int] | None = None if known.epochs is None else known.epochs.tolist()
    if known.kind == FINE_TUNED:
        epochs = [library.teacher.recipe.epochs] * len(networks)
    if epochs is not None:
        each = zip(networks, epochs, strict=True)
        found[SCRATCH] = FitCost(
            images=images * sum(epochs),
            flops=fsum(network_flops(config, one, images, taken) for one, taken in each),
        )
    return found
