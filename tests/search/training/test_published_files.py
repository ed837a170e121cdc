"""Trained networks as published files: what is written reads back equal, in the format that can hold it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.tasks import NETWORK, RECIPE, TINY, made_task

from search.training.history import Epoch, Figures
from search.training.published_files import training_datasets, write_trainings
from search.training.training import Trained, train
from space import BLOX, MINI, Architecture
from space.accuracies import load_accuracies
from space.dataset import Dataset, read_dataset
from space.dataset.model import Dataset as Rows
from space.errors import ConfigError

IMAGES = {"train": 45_000, "val": 5_000, "test": 10_000}  # of the published trainings


def made_training(
    architecture: Architecture, images: dict[str, int] = IMAGES, loss: float = 1.0, **changes: Any
) -> Trained:
    """Return a training whose counts are random numbers of its network: none was trained."""
    random = np.random.default_rng(architecture.index)

    def some(split: str) -> Figures:
        first, among_five = sorted(random.integers(0, images[split] + 1, 2))
        return Figures(
            images=images[split], loss=loss * random.random(), first=int(first), among_five=int(among_five)
        )

    recipe = dataclasses.replace(RECIPE, epochs=6, seed=4)
    history = tuple(
        Epoch(
            number=number,
            rate=recipe.rate_at(number),
            train=some("train"),
            val=some("val"),
            train_ns=2_000_000_000,
            val_ns=500_000_000,
        )
        for number in range(1, recipe.epochs + 1)
    )
    values = {
        **{
            "architecture": architecture,
            "task": "synthetic",
            "synthetic": True,
            "recipe": recipe,
            "history": history,
        },
        **{"test": some("test"), "weights": {}, "environment": {"torch_version": "1.0", "cpu": "m\u00e4de"}},
    }
    return Trained(**{**values, **changes})


def some_of(config: Any, **changes: Any) -> list[Trained]:
    places = np.random.default_rng(0).permutation(len(config))[:9]
    return [made_training(Architecture.from_index(int(place), config), **changes) for place in places]


@pytest.mark.parametrize("config", [BLOX, MINI, TINY], ids=lambda config: config.name)
def test_published_numbers_of_images_are_packed_and_read_back_equal(config: Any, tmp_path: Path) -> None:
    trained = some_of(config)
    written = write_trainings(tmp_path, trained)
    assert [path.name for path in written.paths] == [
        *("blox-base-4.blox", "blox-ext-4.blox", "blox-info.blox", "blox-env-4.blox")
    ]
    assert written.notes == ()
    check_read(tmp_path, trained, config)
    for path, dataset in zip(written.paths, training_datasets(trained).values(), strict=True):
        check_same(read_dataset(path, config=config), dataset)


def check_same(found: Rows, wanted: Dataset) -> None:
    assert found.columns.keys() == wanted.columns.keys()
    assert dict(found.extra) == dict(wanted.extra)
    assert np.array_equal(found.indices, wanted.indices)
    for name in wanted.columns:
        assert np.array_equal(np.array(found.columns[name]), np.array(wanted.columns[name])), name


def check_read(folder: Path, trained: list[Trained], config: Any) -> None:
    """Compare what is loaded with the trainings themselves."""
    best = load_accuracies(folder, config=config)
    test = load_accuracies(folder, metric="test_top1", config=config)
    top5 = load_accuracies(folder, metric="val_top5", config=config)
    assert best.seeds == (4,) and best.synthetic
    assert int(np.isfinite(best.values).sum()) == len(trained)
    for one in trained:
        assert best.at(one.architecture) == round(one.best.val.first / one.best.val.images * 100, 3)
        assert top5.at(one.architecture) == round(one.best.val.top5, 3)
        assert test.at(one.architecture) == round(one.test.top1, 3)


def test_other_numbers_of_images_go_to_csv_and_it_says_why(tmp_path: Path) -> None:
    trained = some_of(MINI, images={"train": 1077, "val": 360, "test": 360})
    written = write_trainings(tmp_path, trained)
    assert [path.suffix for path in written.paths] == [".csv", ".csv", ".blox", ".blox"]
    assert len(written.notes) == 2
    assert written.notes[0].startswith("blox-base-4.csv is CSV, as .blox cannot hold its values: val_top1 = ")
    assert written.notes[0].endswith("of 5000 images")
    check_read(tmp_path, trained, MINI)


def test_numbers_of_images_that_divide_the_published_ones_are_packed(tmp_path: Path) -> None:
    trained = some_of(MINI, images={"train": 900, "val": 250, "test": 200})
    assert write_trainings(tmp_path, trained).notes == ()
    check_read(tmp_path, trained, MINI)


def test_a_loss_too_large_to_be_packed_goes_to_csv(tmp_path: Path) -> None:
    trained = some_of(MINI, loss=100.0)
    written = write_trainings(tmp_path, trained)
    assert [path.suffix for path in written.paths] == [".blox", ".csv", ".blox", ".blox"]
    assert "loss" in written.notes[0] and "16.777215" in written.notes[0]
    check_read(tmp_path, trained, MINI)


def test_the_columns_are_the_published_ones_rounded_as_published() -> None:
    trained = some_of(MINI)
    base, ext, info, env = training_datasets(trained).values()
    assert tuple(base.columns) == ("val_top1", "test_top1", "train_time_s")
    assert tuple(ext.columns) == (
        *("train_top1", "train_loss", "train_top5", "val_loss", "val_top5", "test_loss", "test_top5"),
    )
    assert dict(base.extra) == {"seed": 4, "epochs": 6, "dataset": "synthetic", "part": "base"}
    assert dict(ext.extra) == {**base.extra, "part": "ext"}
    assert list(base.indices) == sorted(one.architecture.index for one in trained)
    assert (base.array("train_time_s") == 15).all()  # 6 epochs of 2.5 s
    one = min(trained, key=lambda one: one.architecture.index)
    assert ext.array("train_loss")[0].tolist() == [round(epoch.train.loss, 6) for epoch in one.history]
    assert ext.array("train_top1")[0].tolist() == [
        round(e.train.first / 45_000 * 100, 3) for e in one.history
    ]
    assert (
        info.array("params")[0] == one.architecture.params and info.array("flops")[0] == one.architecture.macs
    )
    assert tuple(env.columns) == ("cpu", "recipe", "torch_version")
    assert env.columns["cpu"][0] == "m?de" and env.columns["recipe"][0] == one.recipe.digest


def test_a_file_that_is_there_is_replaced_only_when_told_so(tmp_path: Path) -> None:
    write_trainings(tmp_path, some_of(MINI))
    kept = (tmp_path / "blox-base-4.blox").read_bytes()
    odd = some_of(MINI, images={"train": 7, "val": 7, "test": 7})
    with pytest.raises(ConfigError, match=r"blox-base-4.blox is there already; .* all 4 such files"):
        write_trainings(tmp_path, odd)
    assert (tmp_path / "blox-base-4.blox").read_bytes() == kept
    write_trainings(tmp_path, odd, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("blox-base-4.csv", "blox-env-4.blox", "blox-ext-4.csv", "blox-info.blox")
    ]
    check_read(tmp_path, odd, MINI)


def test_trainings_that_are_not_alike_are_refused() -> None:
    first, second = (made_training(Architecture.from_index(place, MINI)) for place in (3, 5))
    recipe = dataclasses.replace(second.recipe, momentum=0.5)
    for others, message in (
        ([], "no trained network"),
        ([first, first], "given twice"),
        ([first, made_training(NETWORK)], "has space"),
        ([first, dataclasses.replace(second, task="synthetic stripes")], "has task synthetic stripes"),
        ([first, dataclasses.replace(second, recipe=recipe)], "has recipe"),
        ([first, made_training(second.architecture, images={**IMAGES, "val": 10})], "has images"),
    ):
        with pytest.raises(ConfigError, match=message):
            training_datasets(others)


@pytest.mark.training
@pytest.mark.usefixtures("one_thread")
def test_networks_that_were_trained_are_written_and_read_back(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=2)
    trained = [train(Architecture.parse(name, TINY), made_task(), recipe) for name in ("conv", "bconv")]
    write_trainings(tmp_path, trained)
    found = load_accuracies(tmp_path, config=TINY)
    assert found.synthetic and "synthetic" in found.label
    assert found.seeds == (RECIPE.seed,)
    for one in trained:
        assert found.at(one.architecture) == round(one.best.val.top1, 3)
