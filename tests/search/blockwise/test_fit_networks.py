"""The networks that a predictor is fitted to: drawn from the library, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from factories.block_libraries import BLOCKS, made_library, made_teacher

from search.blockwise.fit_networks import (
    KnownAccuracies,
    fine_tuned_accuracies,
    fit_costs,
    sample_networks,
)
from search.blockwise.predictor_kinds import FINE_TUNED, SCRATCH
from search.training.trained import Trained
from space import Architecture
from space.costs import network_cost


def test_networks_are_drawn_from_all_blocks_of_the_library_alike_and_each_once() -> None:
    library = made_library()
    every = sample_networks(library, 10_000, seed=0)
    assert len(every) == len(set(every)) == len(BLOCKS) ** 2
    few = sample_networks(library, 10, seed=0)
    assert few == every[:10] and few != sample_networks(library, 10, seed=1)
    firsts = [sample_networks(library, 1, seed)[0].blocks for seed in range(400)]
    for stage in (0, 1):
        counts = [sum(blocks[stage] == block for blocks in firsts) for block in BLOCKS]
        assert min(counts) > 400 / len(BLOCKS) / 3


def right(place: int) -> Trained:
    """Return a training whose first epoch is its best, of 40 validation images."""
    one = made_teacher()
    best = replace(one.best, val=replace(one.best.val, first=10 + place, among_five=40))
    last = replace(one.best, number=2, val=replace(one.best.val, first=2))
    return replace(one, history=(best, last))


def test_accuracies_are_the_best_validation_ones_of_the_networks_as_they_were_tuned() -> None:
    asked: list[Architecture] = []

    def tune(networks: Sequence[Architecture]) -> list[Trained]:
        asked.extend(networks)
        return [right(place) for place in range(len(networks))]

    known = fine_tuned_accuracies(made_library(), 4, 0, tune)
    assert known.indices.tolist() == [one.index for one in asked] and len(set(asked)) == 4
    assert known.accuracies.tolist() == pytest.approx([25.0, 27.5, 30.0, 32.5])
    assert (known.kind, known.epochs) == (FINE_TUNED, None)
    assert made_library().digest[:12] in known.origin[0]


@pytest.mark.parametrize(
    ("kind", "epochs", "scratch"), [(FINE_TUNED, None, [1, 1]), (SCRATCH, [5, 9], [5, 9])]
)
def test_costs_are_counted_for_both_ways_of_training_the_same_networks(
    kind: str, epochs: list[int] | None, scratch: list[int]
) -> None:
    library = made_library()  # of a teacher of one epoch
    config, indices = library.config, np.array([3, 77])
    known = KnownAccuracies(
        indices=indices,
        accuracies=np.array([50.0, 60.0]),
        origin=(),
        kind=kind,
        epochs=None if epochs is None else np.array(epochs),
    )
    costs = fit_costs(library, known, images=60, fine_tune_epochs=4)
    macs = [network_cost(config, int(one)).macs for one in indices]
    teacher = library.teacher.architecture.macs
    assert costs[FINE_TUNED].images == 2 * 4 * 60
    assert costs[FINE_TUNED].flops == 60 * 4 * (6 * sum(macs) + 2 * 2 * teacher)  # its passes beside each
    assert costs[SCRATCH].images == 60 * sum(scratch)
    assert costs[SCRATCH].flops == 60 * 6 * sum(n * m for n, m in zip(scratch, macs, strict=True))


def test_what_trainings_elsewhere_took_is_not_made_up() -> None:
    known = KnownAccuracies(indices=np.array([3]), accuracies=np.array([50.0]), origin=("a.csv",))
    assert set(fit_costs(made_library(), known, images=60, fine_tune_epochs=4)) == {FINE_TUNED}
