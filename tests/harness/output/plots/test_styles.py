"""Looks of methods: one a method in every figure, told apart by readers of all kinds and in gray."""

from __future__ import annotations

import itertools

import pytest

from harness.output.plots.styles import OTHER, PROXY_STYLES, STYLES, style
from search.methods.registry import FORMER_NAMES, METHODS, PROXIES, RANKED
from search.study.candidates import (
    DONNA,
    LANA,
    PUBLISHED_DNA,
    PUBLISHED_DONNA,
    PUBLISHED_LANA,
    RESCORED,
    SUPERNET,
)
from search.study.methods import PLAIN

STUDIED = (
    *PLAIN, SUPERNET, LANA, RESCORED, DONNA, f"{DONNA}-linear", f"{DONNA}-tuned", "blockwise-gcn", "iteration",
    PUBLISHED_DNA, PUBLISHED_LANA, PUBLISHED_DONNA,
)  # fmt: skip
OKABE_ITO = {"#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"}
# Two neutral ones beside them: random search's gray, and brown, which differs from all of them in lightness.
NEUTRAL = {"#777777", "#8c6d46"}


def test_every_method_of_a_figure_has_a_style_of_its_own() -> None:
    named = {*METHODS, *STUDIED} - {RANKED}
    assert named <= STYLES.keys()
    assert PROXY_STYLES.keys() == set(PROXIES)
    assert OTHER not in {*STYLES.values(), *PROXY_STYLES.values()}


def test_no_two_methods_differ_by_color_alone() -> None:
    every = {**STYLES, **PROXY_STYLES}
    for (name, one), (other, two) in itertools.combinations(every.items(), 2):
        assert (one.marker, one.dash) != (two.marker, two.dash), (name, other)


@pytest.mark.parametrize("family", sorted({one.family for one in STYLES.values()}))
def test_no_two_methods_of_a_panel_have_a_color_in_common(family: str) -> None:
    every = {**STYLES, **{name: PROXY_STYLES[name] for name in ("grad_norm", "synflow")}}
    panel = [one.color for name, one in every.items() if one.family == family or name == "random"]
    assert len(panel) == len(set(panel))


def test_colors_are_those_that_color_blind_readers_tell_apart() -> None:
    assert {one.color for one in (*STYLES.values(), *PROXY_STYLES.values(), OTHER)} <= OKABE_ITO | NEUTRAL


def test_a_warm_up_changes_a_method_s_dash_alone_and_former_names_keep_their_style() -> None:
    warmed, plain = style("evolution+synflow"), style("evolution")
    assert (warmed.color, warmed.marker) == (plain.color, plain.marker)
    assert warmed.dash == PROXY_STYLES["synflow"].dash
    for former, present in FORMER_NAMES.items():
        assert style(former) == style(present)
    assert style("of another package") == OTHER
