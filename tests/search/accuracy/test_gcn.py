"""The GCN predictor: ranks better than second-order terms where accuracy is no sum, repeats itself, leaves torch as it was."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from search.accuracy.gcn import GcnConfig, GcnPredictor
from search.accuracy.graphs import adjacency, block_graphs, node_features
from search.accuracy.layers import fresh_weights, pair_loss, values
from search.methods.method import Problem, search
from search.methods.predictor_loop import GCN_PAIRS_CONFIG, gcn
from search.methods.ridge import SecondOrder
from search.table.synthetic import synthetic_accuracies
from space import BLOX, MINI
from space.errors import ConfigError

pytestmark = pytest.mark.training

SMALL = GcnConfig(width=16, epochs=10, learning_rate=1e-2)
SMALL_PAIRS = GcnConfig(width=16, epochs=10, learning_rate=1e-2, pairs=True)
TRAINING = 100


def split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return networks to learn from and their accuracies, and held-out ones and theirs: the rule `mixed` of `synthetic`."""
    accuracies = synthetic_accuracies(BLOX, seed=seed).values
    drawn = np.random.default_rng(seed).choice(len(BLOX), TRAINING + 1000, replace=False)
    known, held_out = drawn[:TRAINING], drawn[TRAINING:]
    return known, accuracies[known], held_out, accuracies[held_out]


@pytest.mark.long
def test_pairs_rank_held_out_networks_a_tenth_better_than_second_order_terms() -> None:
    # The table's rule is search.table.synthetic's `mixed`, written down before any predictor saw it.
    known, scores, held_out, truth = split(0)
    taus = []
    for predictor in (GcnPredictor(BLOX, GCN_PAIRS_CONFIG, 0), SecondOrder(BLOX)):
        predictor.fit(known, scores)
        taus.append(kendalltau(predictor.predict(held_out), truth)[0])
    assert taus[0] - taus[1] >= 0.1, taus


@pytest.mark.parametrize("hyperparameters", [SMALL, SMALL_PAIRS])
def test_equal_seeds_predict_equally_and_others_differently(hyperparameters: GcnConfig) -> None:
    known, scores = np.arange(0, 2000, 50), synthetic_accuracies(MINI).values[:2000:50]

    def predicted(seed: int) -> np.ndarray:
        predictor = GcnPredictor(MINI, hyperparameters, seed)
        predictor.fit(known, scores)
        return predictor.predict(np.arange(100))

    first = predicted(1)
    torch.manual_seed(9)
    assert (first == predicted(1)).all()
    assert not np.allclose(first, predicted(2))


def test_a_second_fit_begins_anew() -> None:
    values_ = synthetic_accuracies(MINI).values
    known, others = np.arange(0, 2000, 50), np.arange(7, 2000, 50)
    fresh, used = GcnPredictor(MINI, SMALL), GcnPredictor(MINI, SMALL)
    used.fit(others, values_[others])
    for predictor in (fresh, used):
        predictor.fit(known, values_[known])
    assert (fresh.predict(others) == used.predict(others)).all()


def test_torch_and_its_threads_stay_as_they_were() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate(), torch.get_num_threads()
    with torch.no_grad():  # a caller's own setting must not keep it from learning
        predictor = GcnPredictor(MINI, SMALL)
        predictor.fit(np.arange(30), np.linspace(40, 60, 30))
        predictor.predict(np.arange(30))
        assert not torch.is_grad_enabled()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all() and before[2] == random.getstate()
    assert torch.get_num_threads() == before[3]


def test_values_are_learned_on_the_scale_of_accuracies() -> None:
    known = np.arange(0, 2025, 45)
    scores = synthetic_accuracies(MINI).values[known]
    predictor = GcnPredictor(MINI, GcnConfig(width=64, epochs=150, learning_rate=5e-3, dropout=0.0))
    predictor.fit(known, scores)
    assert np.abs(predictor.predict(known) - scores).mean() < 0.25 * scores.std()


@pytest.mark.parametrize("hyperparameters", [SMALL, SMALL_PAIRS])
def test_one_network_and_equal_accuracies_are_enough_to_go_on(hyperparameters: GcnConfig) -> None:
    for known in (np.array([5]), np.array([5, 9, 12])):
        predictor = GcnPredictor(MINI, hyperparameters)
        predictor.fit(known, np.full(len(known), 50.0))
        assert np.isfinite(predictor.predict(np.arange(len(MINI)))).all()


def test_predictions_do_not_depend_on_how_many_are_made_at_once() -> None:
    known = np.arange(0, 2000, 50)
    predicted = []
    for batch in (7, 500):
        predictor = GcnPredictor(MINI, GcnConfig(width=16, epochs=3, predict_batch=batch))
        predictor.fit(known, np.linspace(40, 60, len(known)))
        predicted.append(predictor.predict(np.arange(60)))
    np.testing.assert_allclose(predicted[0], predicted[1], rtol=1e-5)
    assert predictor.predict(np.array([], dtype=np.int64)).shape == (0,)


def test_layers_compute_what_a_plain_convolution_of_all_nodes_does() -> None:
    parts, indices = block_graphs(MINI), np.array([3, 700, 2024])
    hears, features = adjacency(parts, indices), node_features(parts, indices)
    weights = fresh_weights(features.shape[2], 8, 3, torch.Generator().manual_seed(0))
    biases = tuple(torch.full((8,), 0.1 * layer) for layer in range(3))
    weights = type(weights)(matrices=weights.matrices, biases=biases, read_out=weights.read_out)
    h = features.astype(np.float64)
    for matrix, bias in zip(weights.matrices, biases, strict=True):
        h = np.maximum(hears @ h @ matrix.double().numpy() + bias.double().numpy(), 0)
    expected = h[:, 0] @ weights.read_out.double().numpy()
    given = torch.from_numpy(hears)
    np.testing.assert_allclose(
        values(weights, given @ torch.from_numpy(features), given).numpy(), expected, rtol=1e-4
    )


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    parts = block_graphs(MINI)
    hears, features = (torch.from_numpy(of(parts, np.full(4000, 700))) for of in (adjacency, node_features))
    weights = fresh_weights(features.shape[2], 32, 1, torch.Generator().manual_seed(0))
    plain = values(weights, hears @ features, hears)
    dropped = values(weights, hears @ features, hears, 0.2, torch.Generator().manual_seed(1))
    assert dropped.std() > 0
    assert float(dropped.mean()) == pytest.approx(float(plain[0]), abs=4 * float(dropped.std()) / 4000**0.5)
    # of a sum of 32 terms t, each kept with 0.8 and divided by it, the variance is 0.25 sum(t**2)
    terms = (hears @ features)[0, 0] @ weights.matrices[0]
    terms = torch.relu(terms) * weights.read_out
    assert float(dropped.var()) == pytest.approx(0.25 * float((terms**2).sum()), rel=0.1)


def test_the_pairs_loss_is_the_mean_over_all_pairs() -> None:
    predicted, scores = torch.tensor([1.0, -0.5, 2.0, 0.3]), torch.tensor([3.0, 1.0, 1.0, 5.0])
    losses = []
    for i in range(4):
        for j in range(i + 1, 4):
            chance = 1 / (1 + np.exp(-(float(predicted[i]) - float(predicted[j]))))
            better = 0.5 if scores[i] == scores[j] else float(scores[i] > scores[j])
            losses.append(-better * np.log(chance) - (1 - better) * np.log(1 - chance))
    assert float(pair_loss(predicted, scores)) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(pair_loss(predicted[:1], scores[:1])) == 0


@pytest.mark.parametrize("pairs", [False, True])
def test_as_a_method_it_looks_up_better_networks_than_it_began_with(pairs: bool) -> None:
    accuracies = synthetic_accuracies(MINI, seed=4).values
    hyperparameters = GcnConfig(width=32, epochs=60, learning_rate=5e-3, pairs=pairs)
    gains = []
    for seed in range(2):
        problem = Problem(config=MINI, allowed=np.ones(len(MINI), dtype=np.bool_), budget=60, seed=seed)
        trace = search("gcn", gcn(problem, hyperparameters), problem, lambda indices: accuracies[indices])
        assert len(trace.indices) == 60
        gains.append((trace.scores[20:].mean() - trace.scores[:20].mean()) / accuracies.std())
    assert np.mean(gains) > 0.5, gains  # random networks would gain nothing, give or take 0.2


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="before fit"):
        GcnPredictor(MINI).predict(np.arange(3))
    for indices, scores in (([], []), ([1, 2], [50.0]), ([1], [np.nan])):
        with pytest.raises(ValueError, match="one finite accuracy for each"):
            GcnPredictor(MINI).fit(np.array(indices, dtype=np.int64), np.array(scores))
    for hyperparameters in ({"layers": 0}, {"dropout": 1.0}, {"learning_rate": 0.0}, {"batch": 0}):
        with pytest.raises(ConfigError, match=next(iter(hyperparameters))):
            GcnConfig(**hyperparameters)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="device 'nowhere'"):
        GcnPredictor(MINI, GcnConfig(device="nowhere")).fit(np.array([1]), np.array([50.0]))
