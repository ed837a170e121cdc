"""Predictors of accuracy, compared on synthetic accuracies: how well they rank held-out networks, and what they take.

    python benchmarks/predictors.py [--published] [--draws 3] [--training 100] [--threads 1] [--device cpu]

Each draw is another landscape of `search.table.synthetic` with other networks to learn from. Kendall's tau compares the ranking
of 2,000 held-out networks with their synthetic accuracies, whose noise between seeds keeps even the truth's own ranking below 1
(the row "truth without noise" tells how far). Nothing here says how well a predictor ranks trained networks. `--published`
adds the GCN in BRP-NAS's size, 600 wide for 250 epochs, which takes minutes. The last table is the time of the zero-cost proxies
for one network of Blox and a batch of 64.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from machine import describe_machine, option_parser
from scipy.stats import kendalltau

from search.accuracy.gcn import GcnConfig, GcnPredictor
from search.latency.block_features import block_features, rows_of, standardized
from search.methods.predictor_loop import GCN_CONFIG, GCN_PAIRS_CONFIG, Predictor
from search.methods.ridge import SecondOrder, fit_ridge_cv
from search.proxies import load_batch, proxy_scorer
from search.proxies.measures import PROXIES
from search.table.synthetic import Rule, synthetic_accuracies
from space import BLOX
from space.indexing import FloatArray, IndexArray, block_indices

HELD_OUT = 2_000
TRAININGS = 400  # of the truth: its noise is then a twentieth of one training's
PROXIED = 3  # networks that a proxy is timed on
RULES: tuple[Rule, ...] = ("mixed", "weakest")


class FirstOrder:
    """A ridge on op counts and wiring alone."""

    def __init__(self) -> None:
        self._table = standardized(block_features(BLOX))

    def fit(self, indices: IndexArray, scores: FloatArray) -> None:
        self._fit = fit_ridge_cv([rows_of(self._table, block_indices(BLOX, indices))], scores)

    def predict(self, indices: IndexArray) -> FloatArray:
        return self._fit.constant + rows_of(self._table, block_indices(BLOX, indices)) @ self._fit.slopes


def predictors(published: bool, device: str) -> dict[str, Callable[[int], Predictor]]:
    """Return how each predictor is made for a seed, by its name."""

    def graph(hyperparameters: GcnConfig) -> Callable[[int], Predictor]:
        return lambda seed: GcnPredictor(BLOX, hyperparameters, seed)

    made: dict[str, Callable[[int], Predictor]] = {
        "linear, first order": lambda seed: FirstOrder(),
        "linear, second order": lambda seed: SecondOrder(BLOX),
        "gcn, values": graph(replace(GCN_CONFIG, device=device)),
        "gcn, pairs": graph(replace(GCN_PAIRS_CONFIG, device=device)),
    }
    if published:
        made["gcn, values, 600 wide"] = graph(GcnConfig(device=device))
        made["gcn, pairs, 600 wide"] = graph(GcnConfig(device=device, pairs=True))
    return made


def main() -> None:
    """Measure and print the tables."""
    parser = option_parser(__doc__)
    parser.add_argument("--published", action="store_true", help="add the GCN in BRP-NAS's size")
    parser.add_argument("--draws", type=int, default=3, help="landscapes and training sets")
    parser.add_argument("--training", type=int, default=100, help="networks to learn from")
    parser.add_argument("--threads", type=int, default=1, help="of torch; on a busy machine more are slower")
    parser.add_argument("--device", default="cpu", help="of the GCN, as torch names it")
    parser.add_argument("--no-proxies", action="store_true", help="leave the proxies out")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{describe_machine()}, torch {torch.__version__}, {given.threads} threads, {given.device}")
    makers = predictors(given.published, given.device)
    for rule in RULES:
        _compare(rule, makers, given.draws, given.training)
    if not given.no_proxies:
        _time_proxies()


def _compare(rule: Rule, makers: dict[str, Callable[[int], Predictor]], draws: int, training: int) -> None:
    print(f"\nsynthetic accuracies, rule {rule!r}, {training} networks learned from, {draws} draws")
    head = (
        f"{'Kendall tau of ranking synthetic accuracies':44} {'mean':>7} {'sd':>7} {'against 2nd order':>24}"
    )
    print(f"{head} {'fit s':>8} {'all 91,125 s':>13}")
    taus: dict[str, list[float]] = {name: [] for name in ("truth without noise", *makers)}
    fit_s: dict[str, list[float]] = {name: [] for name in makers}
    all_s: dict[str, list[float]] = {name: [] for name in makers}
    for seed in range(draws):
        accuracies = synthetic_accuracies(seed=seed, rule=rule).values
        drawn = np.random.default_rng(seed).choice(len(BLOX), training + HELD_OUT, replace=False)
        known, held_out = drawn[:training], drawn[training:]
        truth = synthetic_accuracies(seed=seed, rule=rule, trainings=TRAININGS).values[held_out]
        taus["truth without noise"].append(kendalltau(truth, accuracies[held_out])[0])
        for name, make in makers.items():
            predictor = make(seed)
            start = time.perf_counter()
            predictor.fit(known, accuracies[known])
            fitted = time.perf_counter()
            predicted = predictor.predict(np.arange(len(BLOX)))
            fit_s[name].append(fitted - start)
            all_s[name].append(time.perf_counter() - fitted)
            taus[name].append(kendalltau(predicted[held_out], accuracies[held_out])[0])
    for name, values in taus.items():
        gains = np.subtract(values, taus["linear, second order"])
        against = f"{gains.mean():+.3f} ({gains.min():+.3f} to {gains.max():+.3f})"
        line = f"{name:44} {np.mean(values):7.3f} {np.std(values, ddof=1 if draws > 1 else 0):7.3f} {against:>24}"
        print(f"{line} {min(fit_s[name]):8.2f} {min(all_s[name]):13.2f}" if name in fit_s else line)


def _time_proxies() -> None:
    batch = load_batch("", BLOX)
    networks = np.random.default_rng(0).choice(len(BLOX), PROXIED, replace=False)
    print(f"\n{f'proxy of one network, batch of {len(batch.images)}, {batch.origin}':44} {'seconds':>7}")
    for name in PROXIES:
        score, seconds = proxy_scorer(name, BLOX, batch, seed=0), []
        for network in networks:
            start = time.perf_counter()
            score(np.array([network]))
            seconds.append(time.perf_counter() - start)
        print(f"{name:44} {np.median(seconds):7.2f}")


if __name__ == "__main__":
    main()
