"""The integer program, against listing every choice."""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from factories.accuracies import additive, block_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from search.integer_program import solver, window
from search.integer_program.solve import TIE, Limit, Solution, additive_part, in_order, solve
from search.integer_program.solver import Blocks, Scaled
from space import BLOX, MINI, Architecture, SpaceConfig
from space.costs import all_macs, block_costs, fixed_cost
from space.errors import HarnessError
from space.indexing import FloatArray, block_indices, index_of

ROOT = Path(__file__).parents[3]
EIGHT = SpaceConfig(
    name="eight", ops=BLOX.ops, widths=(8, 16, 32, 64, 128, 256, 512, 1024), image_size=256, classes=100
)


def macs_limit(config: SpaceConfig, share: float) -> Limit:
    """Return a limit on MACs, in whole numbers, at a share of the way from the least to the most."""
    costs = np.array([[cost.macs for cost in stage] for stage in block_costs(config)])
    fixed = fixed_cost(config).macs
    least, most = fixed + costs.min(axis=1).sum(), fixed + costs.max(axis=1).sum()
    return Limit(name="macs", costs=costs, constant=fixed, upper=math.floor(least + share * (most - least)))


def listed(
    scores: FloatArray, limits: list[Limit], excluded: list[Blocks] | None = None
) -> list[tuple[float, Blocks]]:
    """Return every choice within the limits with its score, best first."""
    every = [
        (math.fsum(scores[s, b] for s, b in enumerate(blocks)), blocks)
        for blocks in itertools.product(range(scores.shape[1]), repeat=scores.shape[0])
        if all(limit.lower <= limit.total(blocks) <= limit.upper for limit in limits)
        and blocks not in (excluded or [])
    ]
    return sorted(every, key=lambda entry: -entry[0])


def assert_best(
    found: list[Solution],
    scores: FloatArray,
    limits: list[Limit],
    every: list[tuple[float, Blocks]],
    count: int,
) -> None:
    """Check that the best choices of `every` were found; equal scores may come in any order."""
    within = {blocks for _, blocks in every}
    spread = float(np.ptp(scores, axis=1).max())
    assert len(found) == min(count, len(every))
    assert len({solution.blocks for solution in found}) == len(found)
    for solution, (best, _) in zip(found, every, strict=False):
        assert solution.blocks in within
        assert solution.score == math.fsum(scores[s, b] for s, b in enumerate(solution.blocks))
        assert solution.totals == tuple(limit.total(solution.blocks) for limit in limits)
        assert abs(solution.score - best) <= TIE * spread


@st.composite
def programs(draw: st.DrawFn) -> tuple[FloatArray, list[Limit], int]:
    """Draw scores, limits and a count; scales of everything, ties, limits met exactly and limits that cannot be met."""
    stages, blocks = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = rng.normal(size=(stages, blocks)) * 10.0 ** draw(st.integers(-6, 6)) + draw(st.floats(-1e3, 1e3))
    if draw(st.booleans()):
        scores = rng.integers(-2, 3, (stages, blocks)).astype(float)
    limits = []
    for number in range(draw(st.integers(0, 3))):
        costs = rng.uniform(0, 1, (stages, blocks)) * 10.0 ** draw(st.integers(-6, 10))
        constant = float(costs.max()) * draw(st.sampled_from([0.0, 0.5, -3.0, 1e6]))
        if draw(st.booleans()):
            costs, constant = np.round(costs), float(np.round(constant))
        limit = Limit(name=str(number), costs=costs, constant=constant)
        totals = sorted(limit.total(b) for b in itertools.product(range(blocks), repeat=stages))
        bounds = [
            totals[int(place * (len(totals) - 1))]
            for place in draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))
        ]
        # To the next float: then one network is just out.
        nudge = draw(st.sampled_from([0.0, 0.0, 1.0, -1.0]))
        upper = math.nextafter(max(bounds), math.copysign(math.inf, nudge)) if nudge else max(bounds)
        lower = draw(st.sampled_from([-math.inf, -math.inf, min(bounds)]))
        limits.append(Limit(name=str(number), costs=costs, constant=constant, upper=upper, lower=lower))
    return scores, limits, draw(st.integers(1, 12))


@settings(max_examples=80, deadline=None)
@given(drawn=programs())
def test_it_finds_what_listing_every_choice_finds(drawn: tuple[FloatArray, list[Limit], int]) -> None:
    scores, limits, count = drawn
    assert_best(solve(scores, limits, count), scores, limits, listed(scores, limits), count)


@settings(max_examples=30, deadline=None)
@given(drawn=programs(), most=st.sampled_from([-1, 3, 12]), seed=st.integers(0, 99))
def test_the_solver_goes_on_alone_where_too_many_choices_are_near(
    drawn: tuple[FloatArray, list[Limit], int], most: int, seed: int
) -> None:
    scores, limits, count = drawn
    rng = np.random.default_rng(seed)
    excluded = [blocks for _, blocks in listed(scores, limits)[:4] if rng.random() < 0.5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window, "MAX_LISTED", most)
        found = solve(scores, limits, min(count, 6), excluded=excluded)
    assert_best(found, scores, limits, listed(scores, limits, excluded), min(count, 6))


@pytest.mark.parametrize("seed", range(3))
def test_the_solver_alone_and_the_list_agree_on_the_best_of_eight_stages(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, limit = np.random.default_rng(seed).normal(size=(8, 45)), macs_limit(EIGHT, 0.2)
    both = solve(scores, [limit], 3)
    monkeypatch.setattr(window, "MAX_LISTED", -1)
    assert solve(scores, [limit], 3) == both


@settings(max_examples=25, deadline=None)
@given(drawn=programs(), seed=st.integers(0, 99))
def test_excluded_choices_are_not_returned(drawn: tuple[FloatArray, list[Limit], int], seed: int) -> None:
    scores, limits, count = drawn
    rng = np.random.default_rng(seed)
    every = listed(scores, limits)
    excluded = [blocks for _, blocks in every[:8] if rng.random() < 0.5]
    found = solve(scores, limits, count, excluded=excluded)
    assert_best(found, scores, limits, listed(scores, limits, excluded), count)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_in_blox_under_macs_and_milliseconds_it_finds_the_hundred_best_of_the_list(share: float) -> None:
    rng = np.random.default_rng(int(100 * share))
    scores, milliseconds = block_scores(1, BLOX), rng.uniform(0.1, 3, (3, 45))
    limits = [macs_limit(BLOX, share), Limit(name="ms", costs=milliseconds, constant=1.5, upper=6.0)]
    digits, stage = block_indices(BLOX, np.arange(len(BLOX))), np.arange(3)
    total = scores[stage, digits].sum(axis=1)
    allowed = (all_macs(BLOX) <= limits[0].upper) & (1.5 + milliseconds[stage, digits].sum(axis=1) <= 6.0)
    ranked = np.argsort(-np.where(allowed, total, -np.inf), kind="stable")[:100]
    found = solve(scores, limits, 100)
    assert [index_of(BLOX, solution.blocks) for solution in found] == ranked.tolist()
    assert [solution.totals[0] for solution in found] == all_macs(BLOX)[ranked].tolist()


def test_a_choice_that_breaks_a_limit_by_less_than_the_solver_sees_is_not_returned() -> None:
    # One in 1e12: the solver's tolerance is a billion times the excess. The better block of each stage costs 1 too much.
    costs = np.array([[10**12, 0, 10**12 + 1], [10**12, 0, 10**12 + 1]])
    scores = np.array([[1.0, 0.0, 2.0], [1.0, 0.0, 2.0]])
    (found,) = solve(scores, [Limit(name="macs", costs=costs, constant=7, upper=2 * 10**12 + 7)])
    assert found.blocks == (0, 0)
    (found,) = solve(scores, [Limit(name="macs", costs=costs, constant=7, upper=2 * 10**12 + 8)])
    assert found.score == 3.0
    least = [Limit(name="macs", costs=costs, constant=7, lower=2 * 10**12 + 8)]
    (found,) = solve(-scores, least)
    assert found.score == -3.0


def test_limits_that_nothing_meets_leave_nothing() -> None:
    scores = np.zeros((3, 4))
    costs = np.arange(12.0).reshape(3, 4)
    assert solve(scores, [Limit(name="low", costs=costs, upper=11.9)]) == []
    assert solve(scores, [Limit(name="high", costs=costs, lower=21.1)]) == []
    assert solve(scores, [Limit(name="none", costs=costs, upper=14, lower=15)]) == []
    apart = [Limit(name="one", costs=costs, upper=13), Limit(name="two", costs=-costs, upper=-20)]
    assert solve(scores, apart) == []
    odd = [Limit(name="even sums", costs=2 * costs, upper=15.5, lower=14.5)]  # only the solver can tell
    assert solve(scores, odd, 3) == []


def test_of_equal_scores_it_returns_different_choices_and_the_same_ones_again() -> None:
    scores = np.zeros((8, 45))
    limit = macs_limit(EIGHT, 0.2)
    found = solve(scores, [limit], 4)
    assert len({solution.blocks for solution in found}) == 4
    assert all(solution.totals[0] <= limit.upper for solution in found)
    assert solve(scores, [limit], 4) == found


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_best_of_eight_stages_are_better_than_millions_of_others(share: float) -> None:
    # The list of all is too long; so each answer is compared with what changing up to two of its blocks yields.
    scores, limit = block_scores(7, EIGHT), macs_limit(EIGHT, share)
    found = solve(scores, [limit], 100)
    values = [solution.score for solution in found]
    assert values == sorted(values, reverse=True)
    known = {solution.blocks for solution in found}
    assert len(known) == 100
    best = found[0].blocks
    better = 0
    for s, t in itertools.combinations(range(8), 2):
        for b, c in itertools.product(range(45), repeat=2):
            other = tuple(b if i == s else c if i == t else block for i, block in enumerate(best))
            if limit.total(other) <= limit.upper:
                score = math.fsum(scores[i, block] for i, block in enumerate(other))
                assert score <= values[0]
                better += score > values[-1]
                assert other in known or score <= values[-1]
    assert better > 5


def test_a_solver_that_errs_is_put_right_by_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = block_scores(2)
    every = listed(scores, [])
    monkeypatch.setattr(solver, "_solved", lambda *_: every[3][1])
    assert [solution.blocks for solution in solve(scores, [], 6)] == [blocks for _, blocks in every[:6]]


def test_a_solver_whose_order_is_wrong_is_an_error_where_the_list_cannot_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = block_scores(2)
    every = [blocks for _, blocks in listed(scores, [])]

    def errs(scaled: Scaled, cuts: list[FloatArray], left_s: float) -> Blocks:
        return [every[1], every[0]][len(cuts)]

    monkeypatch.setattr(solver, "_solved", errs)
    monkeypatch.setattr(window, "MAX_LISTED", -1)
    with pytest.raises(HarnessError, match="passed over a choice"):
        solve(scores, [], 2)


@pytest.mark.parametrize("time_limit_s", [0.0, 1e-9])
def test_a_program_that_was_not_solved_in_time_is_an_error(
    time_limit_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solver, "TIME_LIMIT_S", time_limit_s)
    with pytest.raises(HarnessError, match=r"was not found.*; give fewer limits"):
        solve(block_scores(7, EIGHT), [macs_limit(EIGHT, 0.3)])


def test_what_is_no_number_or_no_table_is_refused() -> None:
    scores = np.zeros((2, 3))
    with pytest.raises(ValueError, match="a score is not finite"):
        solve(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match=re.escape("costs of (3, 2)")):
        solve(scores, [Limit(name="ms", costs=np.zeros((3, 2)))])
    with pytest.raises(ValueError, match="limit ms: a cost is not finite"):
        Limit(name="ms", costs=np.full((2, 3), np.inf))
    with pytest.raises(ValueError, match=r"limit ms: .* is no range"):
        Limit(name="ms", costs=scores, upper=math.nan)


def test_choices_are_sought_only_as_they_are_asked_for() -> None:
    ordered = in_order(block_scores(3), [])
    every = listed(block_scores(3), [])
    assert [next(ordered).blocks for _ in range(3)] == [blocks for _, blocks in every[:3]]
    assert [solution.blocks for solution in ordered] == [blocks for _, blocks in every[3:]]


def test_the_additive_part_of_sums_is_the_sums_also_where_some_are_unknown() -> None:
    truth = additive(8)
    digits, stages = block_indices(MINI, np.arange(len(MINI))), np.arange(MINI.stages)
    holes = np.where(np.random.default_rng(0).random(len(MINI)) < 0.6, np.nan, truth)
    for values in (truth, holes):
        effects, constant = additive_part(MINI, values)
        assert np.allclose(constant + effects[stages, digits].sum(axis=1), truth)


def test_the_additive_part_is_that_of_least_squares() -> None:
    values = np.random.default_rng(1).normal(size=len(MINI))
    values[::7] = np.nan
    known = np.flatnonzero(np.isfinite(values))
    digits = block_indices(MINI, np.arange(len(MINI)))
    ones = np.hstack([np.eye(45)[digits[:, stage]] for stage in range(MINI.stages)])
    fitted = ones @ np.linalg.lstsq(ones[known], values[known], rcond=None)[0]
    effects, constant = additive_part(MINI, values)
    assert np.allclose(constant + effects[np.arange(MINI.stages), digits].sum(axis=1), fitted)
    with pytest.raises(ValueError, match="no value is known"):
        additive_part(MINI, np.full(len(MINI), np.nan))


@pytest.mark.parametrize("config", [MINI, BLOX])
def test_the_index_of_blocks_is_the_canonical_one(config: SpaceConfig) -> None:
    for index in (0, 1, 46, len(config) - 1, 1234):
        assert index_of(config, block_indices(config, [index])[0].tolist()) == index


def test_solving_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for seed in range(8):
        solve(block_scores(seed, EIGHT), [macs_limit(EIGHT, 0.3)], 10)
    assert capfd.readouterr() == ("", "")


def test_the_example_of_eight_stages_finds_networks_within_its_limit() -> None:
    done = subprocess.run(
        [sys.executable, "examples/eight_stages.py", "2.5e9"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"synthetic score ([\d.]+), ([\d,]+) MACs\n +(\S+)", done.stdout)
    assert len(shown) == 5
    for _, macs, text in shown:
        assert Architecture.parse(text, EIGHT).macs == int(macs.replace(",", "")) <= 2.5e9
    scores = [float(score) for score, *_ in shown]
    assert scores == sorted(scores, reverse=True)
