"""Whether latencies add up, on latencies that do and on some that do not."""

from __future__ import annotations

import numpy as np
import pytest
from factories.latencies import additive, cells, costs, design, fused, measured, parts_of
from factories.own_spaces import own_space

from search.latency.audit import ACROSS, NEXT, audit, judge_additivity
from search.latency.evaluation import Errors
from search.latency.parts import cell_excess, parts_sum
from space import BLOX, Architecture, Block
from space.errors import ConfigError
from space.segments import all_segments


def test_the_sum_of_parts_of_each_network_is_that_of_its_segments() -> None:
    parts = parts_of(cells(costs(0)), 0.5)
    total = parts_sum(parts, BLOX)
    texts = ["stem", "cell0:conv-mbconv+in", "reduction0", "cell1:bconv", "reduction1", "cell2:conv+mbconv"]
    by_hand = sum(parts[f"segment:{text}"] for text in [*texts, "reduction2", "head"])
    index = Architecture.parse("conv-mbconv+in/bconv/conv+mbconv").index
    assert total(np.array([index])) == pytest.approx([by_hand])


def test_additive_latencies_are_found_additive_with_the_line_they_were_made_by() -> None:
    cell, places = cells(costs(1)), design(2)
    found = audit(
        parts_of(cell), places, measured(0.95 * additive(cell) + 0.05, places, 0), config=BLOX, ceiling=0.008
    )
    assert found.verdict == "additive"
    assert (found.slope, found.intercept) == (pytest.approx(0.95, abs=0.01), pytest.approx(0.05, abs=0.02))
    assert found.affine.mape < 0.008
    assert found.affine.mape < found.plain.mape
    clear = [effect for effect in found.borders if effect.is_clear]
    assert len(clear) <= 0.15 * len(found.borders)


def test_latencies_that_do_not_add_up_are_found_out_and_the_place_is_named() -> None:
    cost, places = costs(2), design(2)
    with_sums = cells(cost + np.array([0, 0, 0, 0, 0, 0, 0, 0.2, 0]) * np.array([[0], [1], [0]]))
    found = audit(
        parts_of(cells(cost)), places, measured(additive(with_sums), places, 0), config=BLOX, ceiling=0.008
    )
    assert found.verdict != "additive"
    clear = {(e.stage, e.level): e.mean for e in found.borders if e.is_clear and e.factor == "wiring"}
    assert clear[1, "chain+out"] > 0.02
    assert clear[1, "chain"] < -0.02


def test_what_is_fused_across_stages_is_not_additive() -> None:
    cell, places = cells(costs(3) * 0.3), design(2)
    found = audit(parts_of(cell), places, measured(additive(cell, 0.8) + fused(0.2), places, 0), config=BLOX)
    assert found.verdict == "not additive"
    across = {(e.stage, e.level): e.mean for e in found.borders if e.is_clear and e.factor == ACROSS}
    assert across[0, "conv | conv"] > 0.02 and across[1, "bconv | bconv"] > 0.02
    assert not [
        level for (_, level), mean in across.items() if mean > 0 and len(set(level.split(" | "))) == 2
    ]


def test_a_cell_that_takes_more_than_its_ops_alone_shows_by_wiring_and_stage() -> None:
    cell = cells(costs(4))
    parts = parts_of(cell)
    twice = [text for text in parts if text.startswith("segment:cell1:") and text.endswith("+in+out")]
    assert len(twice) == 9
    for text in twice:
        op0, op1 = text.removeprefix("segment:cell1:").removesuffix("+in+out").split("-")
        parts[text] = 1.25 * (parts[f"segment:cell1:{op0}"] + parts[f"segment:cell1:{op1}"])
    excess = cell_excess(parts, BLOX)
    assert len(excess) == 3 * 42
    assert excess[1, Block(op0="conv", op1="bconv", wiring="chain+in+out")] == pytest.approx(0.25)
    places = design(1)
    found = audit(parts, places, additive(cell)[places], config=BLOX)
    (effect,) = [e for e in found.cells if (e.stage, e.level) == (1, "chain+in+out")]
    assert (effect.count, effect.mean) == (9, pytest.approx(0.25))
    assert effect.interval == (pytest.approx(0.25), pytest.approx(0.25))


@pytest.mark.parametrize(
    ("mape", "ceiling", "spearman", "verdict"),
    [
        (0.019, None, 0.9, "additive"),
        (0.021, None, 0.99, "ranks only"),
        (0.021, None, 0.9, "not additive"),
        (0.029, 0.02, 0.9, "additive"),
        (0.031, 0.02, 0.99, "ranks only"),
        (0.015, 0.001, 0.9, "additive"),
        (0.5, None, None, "not additive"),
    ],
)
def test_the_verdict_follows_the_error_the_ceiling_and_the_order(
    mape: float, ceiling: float | None, spearman: float | None, verdict: str
) -> None:
    errors = Errors(
        count=90, mape=mape, median_ape=mape, within_5=1, within_10=1, spearman=spearman, kendall=spearman
    )
    found, reason = judge_additivity(errors, ceiling)
    assert found == verdict
    assert f"{mape:.2%}" in reason


def test_of_candidates_alone_each_effect_is_told_once() -> None:
    config = own_space()
    parts = {str(segment): 0.1 for segment in all_segments(config)}
    places = np.arange(len(config))
    found = audit(parts, places, np.linspace(1, 2, len(config)), config=config)
    levels = sum(config.radices) + sum(np.multiply(config.radices[1:], config.radices[:-1]))
    assert {effect.factor for effect in found.borders} == {"candidate", NEXT}
    assert len(found.borders) == levels and found.cells == ()


def test_parts_that_are_absent_or_unknown_or_no_ratios_are_refused() -> None:
    parts = parts_of(cells(costs(0)))
    lacking = {
        text: ratio for text, ratio in parts.items() if text not in ("segment:head", "segment:cell2:conv")
    }
    with pytest.raises(
        ConfigError, match=r"2 of 140 parts .* such as segment:cell2:conv, segment:head; measure"
    ):
        parts_sum(lacking, BLOX)
    with pytest.raises(ConfigError, match=r"part 'segment:cell9:conv'"):
        parts_sum(parts | {"segment:cell9:conv": 1.0}, BLOX)
    with pytest.raises(ConfigError, match=r"part segment:head: ratio nan"):
        parts_sum(parts | {"segment:head": float("nan")}, BLOX)


def test_a_part_named_by_its_twin_counts() -> None:
    parts = parts_of(cells(costs(0)))
    parts["segment:cell0:mbconv+conv"] = parts.pop("segment:cell0:conv+mbconv")
    place = BLOX.table.by_text["conv+mbconv"]
    assert parts_sum(parts, BLOX).blocks[0, place] == parts["segment:cell0:mbconv+conv"]
