"""Synthetic accuracies: never mistaken for trained ones, repeatable, and shaped as a search meets them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from search.latency.block_features import stage_effects
from search.table.synthetic import SEED_SD, synthetic_accuracies
from space import BLOX, MINI, Architecture, SpaceConfig
from space.costs import all_params
from space.indexing import block_indices

TWO_OPS = SpaceConfig(name="two", ops=("plain", "conv"), widths=(8, 16), image_size=16, classes=10)


def value(text: str, values: np.ndarray) -> float:
    return float(values[Architecture.parse(text).index])


def test_they_are_marked_as_synthetic_wherever_they_are_read() -> None:
    made = synthetic_accuracies(seed=3)
    assert made.synthetic
    assert "synthetic" in made.label and made.origin == ("synthetic:3",)
    assert any("synthetic" in note for note in made.notes)
    assert made.values.shape == made.seed_counts.shape == (len(BLOX),)
    assert made.seeds == (0,) and made.seed_sd is None and (made.seed_counts == 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_none_lies_where_a_published_accuracy_lies(seed: int) -> None:
    values = synthetic_accuracies(seed=seed).values
    assert values.min() > 40 and values.max() < 60
    assert values.std() > 1


def test_equal_seeds_make_equal_accuracies_and_other_seeds_other_landscapes() -> None:
    made = [synthetic_accuracies(MINI, seed=seed).values for seed in range(5)]
    assert (made[2] == synthetic_accuracies(MINI, seed=2).values).all()
    correlations = [spearmanr(one, made[0])[0] for one in made[1:]]
    assert np.mean(correlations) < 0.97  # noise alone would leave 0.99


@pytest.mark.parametrize("seed", range(4))
def test_larger_networks_are_mostly_better_with_exceptions(seed: int) -> None:
    correlation = spearmanr(synthetic_accuracies(seed=seed).values, all_params(BLOX))[0]
    assert 0.4 < correlation < 0.9


@pytest.mark.parametrize("seed", range(4))
def test_they_are_no_sum_over_stages(seed: int) -> None:
    values = synthetic_accuracies(seed=seed).values
    digits = block_indices(BLOX, np.arange(len(BLOX)))
    effects = stage_effects(BLOX, values)
    rest = values - values.mean() - sum(effects[stage, digits[:, stage]] for stage in range(BLOX.stages))
    share = float(rest.var() / values.var())
    assert share > SEED_SD**2 / values.var() + 0.05  # of the variance, beyond what noise leaves


def test_a_skip_over_plain_ops_helps_more_where_other_stages_are_plain_too() -> None:
    values = np.mean([synthetic_accuracies(seed=seed).values for seed in range(8)], axis=0)
    gain = {
        rest: value(f"conv-conv+in+out/{rest}", values) - value(f"conv-conv/{rest}", values)
        for rest in ("conv-conv/conv-conv", "mbconv-mbconv/mbconv-mbconv")
    }
    assert gain["conv-conv/conv-conv"] > gain["mbconv-mbconv/mbconv-mbconv"] + 0.5


def test_several_trainings_tell_the_spread_between_seeds() -> None:
    one, many = synthetic_accuracies(MINI), synthetic_accuracies(MINI, trainings=4)
    assert many.seeds == (0, 1, 2, 3) and (many.seed_counts == 4).all()
    assert many.seed_sd == pytest.approx(SEED_SD, rel=0.05)
    spread = (one.values - many.values).std()  # a training against the mean of 4 that it is one of
    assert spread == pytest.approx(SEED_SD * np.sqrt(3 / 4), rel=0.1)


def test_missing_networks_have_no_accuracy_and_no_seed() -> None:
    made = synthetic_accuracies(MINI, trainings=2, missing=0.25)
    absent = np.isnan(made.values)
    assert 0.2 < absent.mean() < 0.3
    assert (made.seed_counts[absent] == 0).all() and (made.seed_counts[~absent] == 2).all()
    assert (made.values[~absent] == synthetic_accuracies(MINI, trainings=2).values[~absent]).all()
    assert np.isnan(synthetic_accuracies(MINI, trainings=2, missing=1).values).all()


def test_spaces_of_other_ops_have_them_too() -> None:
    values = synthetic_accuracies(TWO_OPS).values
    assert values.shape == (len(TWO_OPS),) and np.isfinite(values).all() and values.std() > 1


@pytest.mark.parametrize(("trainings", "missing"), [(0, 0.0), (1, -0.1), (1, 1.5)])
def test_what_makes_no_sense_is_refused(trainings: int, missing: float) -> None:
    with pytest.raises(ValueError, match="give at least 1"):
        synthetic_accuracies(MINI, trainings=trainings, missing=missing)


def test_by_the_weakest_rule_a_good_stage_cannot_make_up_for_a_weak_one() -> None:
    made = [synthetic_accuracies(seed=seed, rule="weakest") for seed in range(4)]
    assert made[2].origin == ("synthetic:weakest:2",) and made[2].synthetic
    assert all(m.values.min() > 40 and m.values.max() < 60 for m in made)
    values = np.mean([m.values for m in made], axis=0)
    strong, weak = "mbconv-mbconv+in+out", "bconv"
    one_weak = value(f"{strong}/{weak}/{strong}", values)
    none_weak = value(f"{strong}/{strong}/{strong}", values)
    all_weak = value(f"{weak}/{weak}/{weak}", values)
    assert one_weak - all_weak < none_weak - one_weak
