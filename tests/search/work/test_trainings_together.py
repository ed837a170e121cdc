"""Trainings done together: one unit of work, whose networks are then each the result of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search.training.augment import NONE
from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.training.trained_files import trained_from
from search.work.events import Event, UnitsFound
from search.work.local_pool import LocalPool
from search.work.results import ResultStore
from search.work.trainings import keep_each, together_unit, training_unit
from search.work.unit import Unit
from search.work.unit_runs import run_units
from space import TINY, Architecture
from space.errors import ConfigError

pytestmark = pytest.mark.training

TASK = load_task("synthetic:0:4/2/2", TINY)
RECIPE = Recipe(epochs=1, batch=40, augmentation=NONE)  # one step: rounding has no time to grow
NAMES = ("conv/conv", "bconv/conv-mbconv+in")


def unit_of(name: str, recipe: Recipe = RECIPE) -> Unit:
    return training_unit(Architecture.parse(name, TINY), TASK, recipe)


def test_each_network_is_the_result_of_its_own_unit_and_what_it_would_be_alone(tmp_path: Path) -> None:
    results, units = ResultStore(folder=tmp_path / "together"), [unit_of(name) for name in NAMES]
    whole = together_unit(units)
    with pytest.raises(ConfigError, match="is not done"):
        keep_each(whole, units, results)
    run_units([whole], results, LocalPool(processes=1))
    assert all(results.result_of(unit) is None for unit in units)
    keep_each(whole, units, results)
    events: list[Event] = []
    done = run_units(units, results, LocalPool(processes=1), events.append)
    found = UnitsFound(keys=frozenset(unit.key for unit in units), units=2)
    assert events == [found], "nothing is left to be run"
    apart = ResultStore(folder=tmp_path / "alone")
    alone = run_units(units, apart, LocalPool(processes=1))
    for name, unit in zip(NAMES, units, strict=True):
        one, other = (trained_from(r.get(d[unit.key])) for r, d in ((results, done), (apart, alone)))
        assert str(one.architecture) == name and one.environment["together"] == "2"
        assert one.history[0].train.loss == pytest.approx(other.history[0].train.loss, rel=1e-5)
        assert (one.recipe, one.source, one.task) == (other.recipe, other.source, other.task)
    half = results.record_of(whole)["seconds"] / 2
    assert results.record_of(units[0])["seconds"] == pytest.approx(half, abs=1e-3)


def test_only_trainings_alike_can_be_done_together() -> None:
    with pytest.raises(ConfigError, match="one space, task and recipe"):
        together_unit([unit_of(NAMES[0]), unit_of(NAMES[1], replace(RECIPE, seed=1))])
    fine_tuned = Unit(kind="train", config=unit_of(NAMES[0]).config, inputs={"start": "0" * 64})
    with pytest.raises(ConfigError, match="from scratch"):
        together_unit([fine_tuned])
