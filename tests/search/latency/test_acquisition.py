"""Which networks are measured next."""

from __future__ import annotations

import numpy as np
import pytest
from factories.latencies import additive, cells, costs, mean_variance, measured

from search.latency import design as designs
from search.latency.candidates import CANDIDATES
from search.latency.design import next_networks
from search.latency.evaluation import judge
from search.latency.model_selection import SelectedPredictor, select_predictor
from space import BLOX, MINI
from space.errors import ConfigError

EVERY = np.arange(len(BLOX))
RIDGE = [candidate for candidate in CANDIDATES if candidate.name == "ridge"]


@pytest.fixture(scope="module")
def narrow() -> tuple[np.ndarray, SelectedPredictor]:
    """Twenty networks that are alike in the last stage, where the truth differs most."""
    truth = additive(cells(costs(0) * np.array([[0.5], [1], [2]])))
    places = np.random.default_rng(0).choice(45**2 * 4, 20, replace=False)  # last stage: blocks 0 to 3 of 45
    return truth, select_predictor(places, measured(truth, places, 0), candidates=RIDGE, config=BLOX)


def test_no_network_is_picked_twice_and_none_that_is_measured(
    narrow: tuple[np.ndarray, SelectedPredictor],
) -> None:
    _, predictor = narrow
    picks = next_networks(predictor.indices, 100, np.random.default_rng(0), BLOX)
    assert len(np.unique(picks)) == len(picks) == 100
    assert not np.isin(picks, predictor.indices).any()


def test_all_that_is_left_of_a_space_can_be_picked() -> None:
    done = np.setdiff1d(np.arange(len(MINI)), [3, 5, 8])
    picks = next_networks(done, 3, np.random.default_rng(0), MINI)
    assert sorted(picks) == [3, 5, 8]


def test_picks_lower_the_mean_variance_and_the_error_more_than_a_random_draw(
    narrow: tuple[np.ndarray, SelectedPredictor],
) -> None:
    truth, predictor = narrow

    def after(more: np.ndarray) -> tuple[float, float]:
        places = np.concatenate([predictor.indices, more])
        again = select_predictor(places, measured(truth, places, 9), candidates=RIDGE, config=BLOX)
        error = judge(again.predict(EVERY[::37]).ratios, truth[::37]).mape
        return mean_variance(BLOX, places), error

    picked = after(next_networks(predictor.indices, 12, np.random.default_rng(0), BLOX))
    left = np.setdiff1d(EVERY, predictor.indices)
    drawn = [after(np.random.default_rng(seed).choice(left, 12, replace=False)) for seed in range(4)]
    assert picked[0] < min(variance for variance, _ in drawn)
    assert picked[1] < np.mean([error for _, error in drawn])


def test_the_first_picks_differ_where_hardly_anything_is_known(
    narrow: tuple[np.ndarray, SelectedPredictor],
) -> None:
    _, predictor = narrow
    picks = next_networks(predictor.indices, 6, np.random.default_rng(0), BLOX)
    assert len(np.unique(picks // 45**2)) == 6, "in the last stage, of which four blocks were measured"


def test_picks_from_a_sample_of_a_large_space_are_reproducible_by_the_generator(
    narrow: tuple[np.ndarray, SelectedPredictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(designs, "CANDIDATES", 500)
    _, predictor = narrow
    first, second, third = (
        next_networks(predictor.indices, 5, np.random.default_rng(seed), BLOX).tolist() for seed in (1, 1, 2)
    )
    assert first == second != third


def test_a_count_that_cannot_be_picked_is_refused(narrow: tuple[np.ndarray, SelectedPredictor]) -> None:
    _, predictor = narrow
    for count in (0, len(BLOX)):
        with pytest.raises(ConfigError, match=f"{count} networks to pick; give 1 to 91105"):
            next_networks(predictor.indices, count, np.random.default_rng(0), BLOX)
