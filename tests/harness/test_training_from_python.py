"""`harness.train`: the answer, its table, and the files that it leaves, beside those of the command."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.block_libraries import made_teacher
from factories.spaces import TWO_OPS, make_known
from rigs.commands import run
from rigs.examples import run_example

import harness
from search.distillation.recipe import DistilRecipe
from search.training.tasks import check_split, load_task
from search.training.trained_files import save_trained
from search.work import unit_runs
from space import TINY, Architecture
from space.errors import ConfigError

TASK = "synthetic:1:4/2/2"
SHORT = {"epochs": 1}


@pytest.mark.long
@pytest.mark.training
def test_the_examples_in_docstrings_run(tmp_path: Path) -> None:
    run_example("train", folder=tmp_path / "trained")
    teacher = tmp_path / "teacher"
    harness.train("conv/conv", teacher, task=TASK, space="tiny", recipe=SHORT)
    run_example("distill", teacher=teacher, folder=tmp_path / "library")


@pytest.mark.training
def test_networks_are_trained_as_the_command_trains_them_and_joined(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    lines: list[str] = []
    trained = harness.train(
        ["sample:2@1", "conv/conv"],
        tmp_path / "here",
        task=TASK,
        space="tiny",
        recipe=SHORT,
        log=lines.append,
    )
    names = [str(one) for one in (*TINY.sample(2, seed=1), Architecture.parse("conv/conv", TINY))]
    frame = trained.to_pandas()
    assert frame["architecture"].tolist() == names and trained.not_trained == ()
    assert [Path(path).exists() for path in frame["weights"]] == [True] * 3
    assert any(line.startswith(f"{names[0]}: epoch 1 of 1") for line in lines), lines
    options = ("--space", "tiny", "--task", TASK, "--epochs", "1", "--json")
    done = run("sqlite://", "train", *names, *options, "-o", str(tmp_path / "there"))
    assert [one["test_top1"] for one in done.json["networks"]] == frame["test_top1_percent"].tolist()
    assert [Path(path).name for path in done.json["files"]] == [path.name for path in trained.files]
    again = harness.train(names[0], tmp_path / "here", task=TASK, space="tiny", recipe=SHORT)
    assert (len(again), again.in_folder) == (1, 3)
    table = harness.join(
        [path for path in trained.files if "base" in path.name], costs=["params"], space="tiny"
    )
    assert harness.search(table)[0]["architecture"] in names


@pytest.mark.training
def test_blocks_are_distilled_as_the_command_distils_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_known(monkeypatch, TWO_OPS)
    teacher = tmp_path / "teacher"
    harness.train("conv/conv", teacher, task=TASK, space=TWO_OPS.name, recipe=SHORT)
    lines: list[str] = []
    found = harness.distill(teacher, tmp_path / "here", stages=[1], form="lana", log=lines.append)
    there = ("--output", str(tmp_path / "there"), "--stage", "1", "--form", "lana", "--json")
    document = run("sqlite://", "distill", str(teacher), *there).json
    recipe = found.library.stage(1).recipe
    assert (recipe.loss, recipe.epochs) == ("mse", 1)
    rows, columns = found.to_records()
    assert [{"stage": 1} | block for block in document["stages"][1]["blocks"]] == [
        {name: row[name] for name in columns} for row in rows
    ]
    assert "synthetic_loss_change" in columns and "params" in columns
    assert any("stage 1: blocks 1 to 21 of 21, epoch 1 of 1" in line for line in lines), lines
    for stage in (2, -1):
        with pytest.raises(ConfigError, match=f"stage {stage}: space 'two-ops' has stages 0 to 1"):
            harness.distill(teacher, tmp_path / "here", stages=[1, stage])


@pytest.mark.parametrize(
    ("source", "named", "learned"),
    [
        ("digits", "digits+split:0", "it may have learned"),
        ("digits+split:1", "digits+split:0", "it may have learned"),
        ("digits+split:0:100/110/120", "digits+split:0", "it may have learned"),
        ("", "digits+split:0", "and does not say from where: it may have learned"),
        ("digits+split:0", "digits", "blocks would learn"),
    ],
)
def test_images_that_are_dealt_out_otherwise_than_the_teachers_are_refused(
    tmp_path: Path, source: str, named: str, learned: str
) -> None:
    teacher = replace(made_teacher(source=source or "digits"), **({} if source else {"source": ""}))
    save_trained(tmp_path / "teacher.harness", teacher)
    wanted = rf"--task {re.escape(named)}.*: is digits.* {learned}.* train the teacher on this source"
    with pytest.raises(ConfigError, match=wanted):
        harness.distill(tmp_path / "teacher.harness", tmp_path / "library", task=named)
    assert not (tmp_path / "library").exists()


def test_the_images_of_the_teacher_may_be_named_and_those_of_another_task() -> None:
    divided, whole = made_teacher(source="digits+split:0"), made_teacher(source="digits")
    for teacher, named in ((divided, "digits+split:0"), (divided, "synthetic:3"), (whole, "digits")):
        check_split(load_task(named, TINY), teacher)
    with pytest.raises(
        ConfigError, match=r"is digits-split-0-200-200-200, and .* was trained on digits-now-others"
    ):
        check_split(load_task("digits+split:0", TINY), replace(divided, task="digits-now-others"))


@pytest.mark.parametrize(
    "other", ["link.npz", "near/../own.npz", "copy.npz", "own.npz:mean=0.5/0.5/0.5,std=0.5/0.5/0.5"]
)
def test_images_that_a_teacher_holds_out_are_known_however_they_are_named(tmp_path: Path, other: str) -> None:
    digits = load_task("digits", TINY)
    arrays = {part: getattr(digits, part) for part in ("train", "val", "test")}
    own = tmp_path / "own.npz"
    np.savez(own, **{f"x_{part}": one.images for part, one in arrays.items()},
             **{f"y_{part}": one.labels for part, one in arrays.items()})  # fmt: skip
    (tmp_path / "near").mkdir()
    (tmp_path / "link.npz").symlink_to(own)
    shutil.copy(own, tmp_path / "copy.npz")
    divided = load_task(f"npz:{own}+split:0", TINY)
    teacher = replace(made_teacher(source="digits"), source=divided.source, task=divided.name)
    with pytest.raises(ConfigError, match="blocks would learn"):
        check_split(load_task(f"npz:{tmp_path}/{other}", TINY), teacher)


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"form": "dan"}, "did you mean 'dna'"), ({"form": "dna", "recipe": DistilRecipe()}, "a whole recipe")],
)
def test_a_form_that_is_none_or_with_a_whole_recipe_is_refused(
    asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_trained(tmp_path / "teacher.harness", made_teacher(source="digits"))
    with pytest.raises(ConfigError, match=message):
        harness.distill(tmp_path / "teacher.harness", tmp_path / "library", **asked)
    assert not (tmp_path / "library").exists()


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        harness.train("conv/conv", tmp_path, space="tiny", recipe={"epoch": 1})
    for together in (0, -1):
        with pytest.raises(ConfigError, match=f"together = {together}: give 1 or more"):
            harness.train("conv/conv", tmp_path / "none", space="tiny", together=together)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        harness.train("conv/conv", file, space="tiny")


@pytest.mark.training
def test_a_training_that_fails_is_raised_after_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = unit_runs.run_units

    def losing(units, *rest, **named):  # type: ignore[no-untyped-def]
        before(units[:1], *rest, **named)
        raise ConfigError("one was lost")

    monkeypatch.setattr(unit_runs, "run_units", losing)
    with pytest.raises(ConfigError, match="one was lost"):
        harness.train(["conv/conv", "mbconv/conv"], tmp_path, task=TASK, space="tiny", recipe=SHORT)
    assert len(list(tmp_path.glob("weights-0/*.pt"))) == 1
