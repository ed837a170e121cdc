"""Search methods compared: regret after each look-up, its interval over seeds, how soon it is small, who is charged for what."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from search.methods.comparison import MethodComparison, make_problem, run_comparison
from search.methods.method import Method, Problem, Proxy, Trace
from search.methods.registry import METHODS, SearchMethod
from search.methods.regret import RegretRun, regret, steps, summarize_runs
from search.statistics import mean_of
from search.table import Cost, NetworkTable
from search.table.constraints import Constraint, parse_constraint
from search.table.synthetic import synthetic_accuracies
from space import MINI
from space.accuracies import Accuracies
from space.costs import all_params
from space.errors import ConfigError, HarnessError
from space.indexing import FloatArray, IndexArray

LIMIT = parse_constraint("params<=45k")
CHEAP = ("random", "evolution")


@cache
def table() -> NetworkTable:
    params = Cost(name="params", unit="", title="parameters", values=all_params(MINI).astype(float))
    return NetworkTable(config=MINI, accuracy=synthetic_accuracies(MINI), costs={"params": params})


def limit_met_by(count: int) -> Constraint:
    """Return a limit on the parameters that some `count` networks meet."""
    return replace(LIMIT, limit=float(np.sort(table().costs["params"].values)[count - 1]))


def trace_of(scores: list[float], seconds: float = 1.0) -> Trace:
    return Trace(method="x", seed=0, indices=np.arange(len(scores)), scores=np.array(scores), seconds=seconds)


def run_of(trace: Trace, best: float) -> RegretRun:
    return RegretRun(trace=trace, regret=regret(trace, best, 3), meets=True)


class Scripted:
    """Ask for what it was made with, then for nothing more."""

    def __init__(self, wanted: IndexArray) -> None:
        self._wanted = wanted

    def ask(self) -> IndexArray:
        wanted, self._wanted = self._wanted, self._wanted[:0]
        return wanted

    def tell(self, indices: IndexArray, scores: FloatArray) -> None:
        """Learn nothing."""


def test_regret_is_what_the_best_so_far_lacks_and_stays_once_nothing_is_left_to_ask() -> None:
    assert regret(trace_of([50.0, 48.0, 53.5, 53.0]), 54.0, 6).tolist() == [4.0, 4.0, 0.5, 0.5, 0.5, 0.5]


def test_a_hand_computed_comparison_of_three_seeds() -> None:
    best = 60.0
    traces = [
        trace_of([58.0, 60.0, 59.0], 3.0),
        trace_of([59.5, 59.95, 59.0], 1.0),
        trace_of([57.0, 57.0, 58.5], 2.0),
    ]
    runs = [run_of(trace, best) for trace in traces]
    one = summarize_runs("x", runs)
    assert one.mean.tolist() == pytest.approx([11 / 6, 3.05 / 3, (0 + 0.05 + 1.5) / 3])
    spread = np.std([0, 0.05, 1.5], ddof=1) / np.sqrt(3)
    low, high = stats.t.interval(0.95, 2, loc=1.55 / 3, scale=spread)
    assert low < 0
    assert (one.low[-1], one.high[-1]) == (0, pytest.approx(high)), "a regret is not below 0"
    told = {r.threshold: (r.median, r.reached) for r in one.reached}
    assert told == {0.5: (2.0, 2), 0.1: (2.0, 2), 0.0: (float("inf"), 1)}
    assert (one.found, one.seconds) == (1, 2.0)


@pytest.mark.simulation
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_interval_of_ten_skewed_regrets_holds_their_mean(share: float) -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        regrets = rng.exponential(1, 10) * (rng.random(10) < share)
        one = summarize_runs("x", [run_of(trace_of([60 - lack]), 60.0) for lack in regrets])
        held += one.low[0] <= share <= one.high[0]
    assert held / 400 >= 0.92, "Student's t alone: 0.89, and 0.83 where half are 0"


def test_each_evaluation_has_the_interval_of_its_regrets() -> None:
    runs = [run_of(trace_of([50.0, 50.0 + k, 59.0 + k / 9]), 60.0) for k in range(9)]
    one = summarize_runs("x", runs)
    for place, regrets in enumerate(np.array([run.regret for run in runs]).T):
        found = mean_of(regrets)
        assert (one.mean[place], one.low[place]) == pytest.approx((found.value, max(found.low, 0)))
        assert one.high[place] == pytest.approx(found.high)


def test_a_threshold_holds_where_floats_miss_it_by_their_rounding() -> None:
    one = summarize_runs("x", [run_of(trace_of([58.6, 58.7, 58.7]), 58.7)])
    assert 58.7 - 58.6 > 0.1
    assert {r.threshold: r.median for r in one.reached} == {0.5: 1.0, 0.1: 1.0, 0.0: 2.0}


def test_runs_that_never_come_close_count_as_the_latest() -> None:
    close, never = trace_of([59.0, 60.0, 60.0]), trace_of([50.0, 50.0, 50.0])
    counted = {
        number: summarize_runs("x", [run_of(close, 60.0)] * 2 + [run_of(never, 60.0)] * number).reached[-1]
        for number in (0, 1, 2)
    }
    assert {number: (r.median, r.reached) for number, r in counted.items()} == {
        0: (2.0, 2),
        1: (2.0, 2),
        2: (float("inf"), 2),
    }


def test_the_exhaustive_search_has_no_regret_at_the_end() -> None:
    allowed = int(make_problem(table(), [LIMIT], budget=1, seed=0).allowed.sum())
    found = run_comparison(table(), [LIMIT], ["exhaustive"], [0, 1], allowed)
    (one,) = found.methods
    assert found.allowed == allowed < len(MINI)
    assert one.mean[-1] == one.high[-1] == 0
    assert one.mean[0] > 0
    assert {run.trace.best for run in one.runs} == {found.best}
    assert one.found == 2


def test_the_best_is_the_best_of_the_networks_allowed_and_every_answer_meets_the_limit() -> None:
    found = run_comparison(table(), [LIMIT], [*CHEAP, "linear"], range(4), 25)
    values, params = table().accuracy.values, table().costs["params"].values
    assert found.best_accuracy == values[params <= 45_000].max() < values.max()
    assert params[found.best] <= 45_000
    for one in found.methods:
        assert len(one.runs) == 4
        for run in one.runs:
            assert run.meets
            assert params[run.trace.best] <= 45_000
            assert run.regret[-1] == found.best_accuracy - values[run.trace.best] >= 0


def test_an_answer_is_judged_by_its_own_cost_and_not_by_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "search.methods.comparison.allowed", lambda *_, **__: np.ones(len(MINI), dtype=np.bool_)
    )
    found = run_comparison(table(), [LIMIT], ["exhaustive"], [0], len(MINI))
    assert [run.meets for run in found.methods[0].runs] == [False]


def test_a_seed_gives_every_method_the_same_first_networks() -> None:
    found = run_comparison(table(), [], ["evolution", "ilp"], [3, 4], 40)
    evolution, program = ([run.trace.indices[:20].tolist() for run in one.runs] for one in found.methods)
    assert evolution == program, "both begin with half of the budget at random"
    assert evolution[0] != evolution[1]


def test_how_long_a_method_is_random_search_is_told() -> None:
    found = run_comparison(table(), [], ["evolution", "random", "linear"], [3, 4], 40)
    assert found.random_evaluations == {"evolution": 20, "linear": 20}
    assert run_comparison(table(), [], ["evolution"], [3], 40).random_evaluations == {}, (
        "there is nothing beside it"
    )
    assert [run.trace.seed for run in found.methods[0].runs] == [3, 4]


def test_a_budget_beyond_the_networks_allowed_ends_without_regret() -> None:
    few = limit_met_by(5)
    found = run_comparison(table(), [few], [*CHEAP, "linear"], [0, 1, 2], 12)
    assert 5 <= found.allowed < 12
    for one in found.methods:
        assert one.mean.shape == (12,)
        assert one.found == 3
        assert not one.mean[found.allowed - 1 :].any()
        assert {len(run.trace.indices) for run in one.runs} == {found.allowed}


def test_progress_counts_every_run_in_full_seeds_outside() -> None:
    told: list[tuple[str, int, int]] = []
    few = limit_met_by(5)
    run_comparison(table(), [few], CHEAP, [7, 8], 12, on_progress=lambda *event: told.append(event))
    assert [event[:2] for event in told if event[2] % 12 == 0] == [
        ("random", 7),
        ("evolution", 7),
        ("random", 8),
        ("evolution", 8),
    ]
    counts = [event[2] for event in told]
    assert counts == sorted(counts)
    assert counts[-1] == 48


def test_a_method_that_fails_is_an_error_that_names_it_and_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(problem: Problem) -> Method:
        if problem.seed == 1:
            raise ZeroDivisionError("planted")
        return Scripted(np.flatnonzero(problem.allowed)[:1])

    monkeypatch.setitem(METHODS, "broken", SearchMethod(make=broken, meaning="planted"))
    run_comparison(table(), [], ["broken"], [0, 2], 3)
    with pytest.raises(HarnessError, match=r"method 'broken' with seed 1 failed: ZeroDivisionError: planted"):
        run_comparison(table(), [], ["random", "broken"], [0, 1], 3)


def test_bad_input_that_a_method_finds_stays_bad_input_and_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(problem: Problem) -> Method:
        raise ConfigError("planted")

    monkeypatch.setitem(METHODS, "refusing", SearchMethod(make=refusing, meaning="planted"))
    with pytest.raises(ConfigError, match=r"^method 'refusing' with seed 5: planted$"):
        run_comparison(table(), [], ["refusing"], [5], 3)


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ([int(np.argmax(synthetic_accuracies(MINI).values))], "not allowed"),
        ([0, 0], "not allowed, or for one twice"),
        ([-1], "not allowed"),
        ([len(MINI)], "not allowed"),
        ([], "asked for no network"),
    ],
)
def test_a_method_that_cheats_is_an_error_that_names_it(
    wanted: list[int], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = Scripted(np.array(wanted, dtype=np.int64))
    monkeypatch.setitem(METHODS, "cheat", SearchMethod(make=lambda _: scripted, meaning="planted"))
    with pytest.raises(HarnessError, match=rf"method 'cheat' with seed 0: .*{problem}.*defect of the method"):
        run_comparison(table(), [LIMIT], ["cheat"], [0], 3)


def test_what_stops_the_user_is_not_taken_for_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(problem: Problem) -> Method:
        raise KeyboardInterrupt

    monkeypatch.setitem(METHODS, "stopped", SearchMethod(make=stopped, meaning="planted"))
    with pytest.raises(KeyboardInterrupt):
        run_comparison(table(), [], ["stopped"], [0], 3)


def test_a_proxy_s_scoring_counts_as_time_of_each_method_that_uses_it() -> None:
    scored: list[tuple[str, int, int]] = []
    pause = 0.004

    def proxy_of(name: str, seed: int) -> Proxy:
        def score(indices: IndexArray) -> FloatArray:
            scored.extend((name, seed, index) for index in indices.tolist())
            time.sleep(pause)
            return table().accuracy.values[indices]

        return score

    methods = ["random", "synflow", "evolution+synflow", "snip"]
    found = run_comparison(table(), [], methods, [0, 1], 10, pool=30, proxy_of=proxy_of)
    seconds = {one.method: min(run.trace.seconds for run in one.runs) for one in found.methods}
    assert seconds["random"] < 30 * pause
    assert all(seconds[name] >= 30 * pause for name in methods[1:]), "also where the scores were known"
    assert len(set(scored)) == len(scored) == 2 * 2 * 30, "a proxy scores a network once a seed"
    best_first = {one.method: one.mean[0] for one in found.methods}
    assert best_first["synflow"] == best_first["evolution+synflow"] < best_first["random"]


def test_a_method_that_names_a_proxy_needs_one_to_score_with() -> None:
    with pytest.raises(ConfigError, match="synflow: there is nothing to score with"):
        run_comparison(table(), [], ["random", "synflow"], [0], 3)


@pytest.mark.parametrize(("methods", "seeds"), [([], [0]), (["random"], []), (["random"], [1, 1])])
def test_nothing_to_compare_and_a_seed_twice_are_refused(methods: list[str], seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="give one or more, each seed once"):
        run_comparison(table(), [], methods, seeds, 3)


def test_a_constraint_that_nothing_meets_and_an_unknown_method_are_refused() -> None:
    with pytest.raises(ConfigError, match="no network meets the constraints"):
        run_comparison(table(), [replace(LIMIT, limit=1.0)], ["random"], [0], 3)
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        run_comparison(table(), [], ["randon"], [0], 3)


def test_planning_methods_are_given_the_tightest_limit_and_what_must_hold_with_confidence() -> None:
    values = np.linspace(1, 2, len(MINI))
    cost = Cost(
        name="pixel", unit="ms", title="", values=values, low=values - 0.1, high=values + 0.1, coverage=0.9
    )
    with_device = replace(table(), costs={"pixel": cost})
    limits = [parse_constraint(text) for text in ("pixel<=1.5ms", "pixel<1.9ms", "pixel>1.2ms")]
    sure = make_problem(with_device, limits, budget=1, seed=0, confident=True)
    plain = make_problem(with_device, limits, budget=1, seed=0)
    assert sure.limits == plain.limits == {"pixel": 1.5}
    assert (sure.costs["pixel"] == values + 0.1).all()
    assert (plain.costs["pixel"] == values).all()
    assert sure.allowed.sum() < plain.allowed.sum()
    found: MethodComparison = run_comparison(with_device, limits, ["random"], [0], 2, confident=True)
    assert found.limits[0] == "pixel<=1.5ms (with 90% confidence)"


def test_words_of_synthetic_accuracies_and_costs_hold_the_word() -> None:
    made_up = replace(table().costs["params"], synthetic=True)
    own = Accuracies(
        metric="top1",
        epoch="",
        seeds=(0,),
        values=table().accuracy.values,
        seed_counts=table().accuracy.seed_counts,
        seed_sd=None,
        origin=("own",),
        synthetic=True,
        config=MINI,
    )
    found = run_comparison(
        replace(table(), accuracy=own, costs={"params": made_up}), [LIMIT], ["random"], [0], 2
    )
    assert found.label == "synthetic top1"
    assert found.limits == ("synthetic params<=45k",)


def test_steps_hold_all_of_a_curve() -> None:
    mean, high = np.array([3.0, 3.0, 1.0, 1.0, 1.0]), np.array([4.0, 4.0, 2.0, 1.5, 1.5])
    assert steps(mean, high) == [(1, (3.0, 4.0)), (3, (1.0, 2.0)), (4, (1.0, 1.5))]
    assert len(steps(mean, np.full(5, np.nan))) == 2, "what is not known does not change"


def test_networks_are_found_by_validation_and_shown_on_test() -> None:
    whole = table()
    tests = replace(whole.accuracy, metric="synthetic_test", values=100 - whole.accuracy.values)
    found = run_comparison(replace(whole, shown=(tests,)), [LIMIT], CHEAP, [0, 1, 2], 20)
    assert found.tested_label == tests.label
    for one in found.methods:
        shown = [100 - float(run.trace.scores.max()) for run in one.runs]
        assert one.tested.value == pytest.approx(np.mean(shown)), "of the best by validation, not on test"
        assert (one.tested.low, one.tested.high) == pytest.approx(
            stats.t.interval(0.95, 2, np.mean(shown), stats.sem(shown))
        )
    plain = run_comparison(whole, [LIMIT], CHEAP, [0], 20)
    assert plain.tested_label == "" and np.isnan(plain.methods[0].tested.value)
