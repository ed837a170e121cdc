"""Trainings as units: what they start from and learn from, and that their images are those they were made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contracts.runner import tiny_training

from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.training.trained import trained_digest
from search.training.trained_files import trained_from
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


def test_a_training_may_start_from_weights_and_learn_from_a_teacher(tmp_path: Path) -> None:
    results, task = ResultStore(folder=tmp_path), load_task(TASK, TINY)
    teacher = tiny_training(epochs=1)
    digest = run_units([teacher], results, LocalPool())[teacher.key]
    student = training_unit(
        Architecture.from_index(1000, TINY),
        task,
        Recipe(epochs=1, batch=20),
        inputs={"start": digest, "guide": digest},
        guide={"weight": 1},
    )
    trained = trained_from(results.get(run_units([student], results, LocalPool())[student.key]))
    name = trained_digest(trained_from(results.get(digest)))
    assert trained.start == name
    assert trained.guide == {"teacher": name, "weight": "1.0", "temperature": "4.0"}
    assert trained.synthetic and trained.source == TASK


def test_a_guide_written_out_and_one_left_to_its_defaults_are_one_unit() -> None:
    task, recipe = load_task(TASK, TINY), Recipe(epochs=1)
    architecture, inputs = Architecture.from_index(0, TINY), {"guide": "0" * 64}
    units = [
        training_unit(architecture, task, recipe, inputs=inputs, guide=guide)
        for guide in (None, {}, {"weight": 0.5}, {"temperature": 4})
    ]
    assert len({unit.key for unit in units}) == 1


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
        ({"guide": {}}, "give the teacher as input"),
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


def test_a_guide_without_a_teacher_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no teacher"):
        training_unit(Architecture.from_index(0, TINY), load_task(TASK, TINY), Recipe(), guide={"weight": 1})
