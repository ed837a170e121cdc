"""Designs by which predictions of the whole space vary least."""

from __future__ import annotations

import numpy as np
import pytest
from factories.latencies import design as latin
from factories.latencies import mean_variance

from search.latency.design import Variance, least_variance_design
from space import BLOX, DEEP, MINI
from space.errors import ConfigError


def test_any_beginning_of_a_design_is_the_smaller_design_and_the_seed_decides() -> None:
    first = least_variance_design(BLOX, 40, 1)
    assert len(np.unique(first)) == 40
    assert least_variance_design(BLOX, 25, 1).tolist() == first[:25].tolist()
    assert least_variance_design(BLOX, 40, 2).tolist() != first.tolist()


def test_predictions_vary_less_than_after_as_many_networks_of_latin_squares_or_drawn() -> None:
    ours, squares = least_variance_design(BLOX, 90, 1), latin(2, 1)
    drawn = np.random.default_rng(0).choice(len(BLOX), 90, replace=False)
    for count, most in ((20, 0.75), (30, 0.8), (45, 0.85), (90, 0.9)):
        variance = mean_variance(BLOX, ours[:count])
        assert variance < most * mean_variance(BLOX, squares[:count])
        assert variance < most * mean_variance(BLOX, drawn[:count])


def test_the_mean_variance_is_the_mean_of_every_networks_own() -> None:
    everywhere = np.arange(len(MINI))
    variance = Variance(MINI, everywhere)
    for index in (3, 11, 3):
        before, gain, leverage = variance.mean, variance.gain[index], variance.leverage[index]
        assert variance.leverage.mean() == pytest.approx(before, rel=1e-5)
        variance.measure(index)
        assert before - variance.mean == pytest.approx(gain / (1 + leverage), rel=1e-5)


def test_a_space_too_large_to_list_has_designs_too_and_too_many_networks_are_refused() -> None:
    assert len(np.unique(least_variance_design(DEEP, 12, 0))) == 12
    assert sorted(least_variance_design(MINI, len(MINI), 0)) == list(range(len(MINI)))
    for count in (0, len(MINI) + 1):
        with pytest.raises(ConfigError, match=f"{count} networks to measure; give 1 to {len(MINI)}"):
            least_variance_design(MINI, count)
