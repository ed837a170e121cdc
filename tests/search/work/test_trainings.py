"""Trainings as units: that their images are those they were made for, and their configs refused where they cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contracts.runner import tiny_training

from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.work.local_pool import LocalPool
from search.work.results import ResultStore
from search.work.trainings import plain_space, space_from_plain, training_unit
from search.work.unit import Unit
from search.work.unit_runs import run_units
from space import TINY, Architecture, SpaceConfig
from space.errors import ConfigError

pytestmark = pytest.mark.training

TASK = "synthetic:0:8/4/4"
OTHER = SpaceConfig(name="other", ops=("conv", "bconv"), widths=(4,), image_size=8, classes=10)


def changed(unit: Unit, **config: Any) -> Unit:
    return Unit(kind=unit.kind, config={**unit.config, **config}, inputs=unit.inputs)


def test_other_images_than_the_units_are_refused_by_both_digests(tmp_path: Path) -> None:
    unit = tiny_training()
    wrong = changed(unit, task="synthetic:1:8/4/4")
    with pytest.raises(ConfigError) as caught:
        run_units([wrong], ResultStore(folder=tmp_path), LocalPool())
    assert unit.config["task_sha256"] in str(caught.value)
    assert load_task("synthetic:1:8/4/4", TINY).images_digest in str(caught.value)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"taks": "digits"}, "no 'taks'"),
        ({"space": "tinny"}, "tinny"),
        ({"space": 7}, "give a name"),
        ({"architecture": "conv"}, "architecture 'conv'"),
        ({"recipe": {"epoch": 1}}, "did you mean 'epochs'"),
        ({"guide": {}}, "no 'guide'"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused_by_what_is_wrong(
    tmp_path: Path, config: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        run_units([changed(tiny_training(), **config)], ResultStore(folder=tmp_path), LocalPool())


def test_a_space_is_named_where_it_is_known_and_written_out_where_it_is_not() -> None:
    assert plain_space(TINY) == "tiny" and space_from_plain("tiny") == TINY
    assert isinstance(plain_space(OTHER), dict) and space_from_plain(plain_space(OTHER)) == OTHER
    unit = training_unit(Architecture.from_index(0, OTHER), load_task(TASK, OTHER), Recipe())
    assert space_from_plain(unit.config["space"]) == OTHER
