"""Checkpoints: what was stopped goes on to the same bits, and no file is taken for what it is not."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import signal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from factories.tasks import NETWORK, RECIPE, TINY, made_task

from search.training import epochs, training
from search.training.batched_training import train_together
from search.training.checkpoints import identity_of, load_checkpoint, read_checkpoint
from search.training.history import EpochDone, Figures
from search.training.images import Images, Task
from search.training.pixel_ops import augment_batches
from search.training.recipe import Recipe
from search.training.sealed_head import CHECKPOINT
from search.training.training import Trained, train
from space import Architecture
from space.errors import ConfigError

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_thread")]

TASK = made_task()


class Stop(Exception):
    """Stand for whatever ends a training."""


@pytest.fixture(scope="module")
def whole() -> Trained:
    """The training that was never stopped."""
    return train(NETWORK, TASK, RECIPE)


@cache
def checkpoint_after(number: int) -> bytes:
    """Return the checkpoint of a training that was stopped after so many epochs."""

    def stop(epoch: EpochDone) -> None:
        if epoch.number == number:
            raise Stop

    with TemporaryDirectory() as folder:
        with pytest.raises(Stop):
            train(NETWORK, TASK, RECIPE, Path(folder), on_epoch=stop)
        return Path(folder, CHECKPOINT).read_bytes()


def stop_after(number: int, folder: Path) -> None:
    (folder / CHECKPOINT).write_bytes(checkpoint_after(number))


def assert_same(one: Trained, other: Trained) -> None:
    assert one.history == other.history
    assert one.test == other.test
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_training_stopped_after_any_epoch_goes_on_to_the_same_bits(
    number: int, whole: Trained, tmp_path: Path
) -> None:
    stop_after(number, tmp_path)
    repeated: list[int] = []
    resumed = train(NETWORK, TASK, RECIPE, tmp_path, on_epoch=lambda epoch: repeated.append(epoch.number))
    assert repeated == list(range(number + 1, RECIPE.epochs + 1))
    assert_same(resumed, whole)


def test_a_training_killed_in_the_midst_of_an_epoch_goes_on_to_the_same_bits(
    whole: Trained, tmp_path: Path
) -> None:
    calls: list[int] = []

    def deadly(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 6:  # epoch 2, after a step
            os.kill(os.getpid(), signal.SIGKILL)
        return augment_batches(*arguments)  # type: ignore[arg-type]

    child = os.fork()  # of one thread: see `one_thread`
    if not child:
        try:
            epochs.augment_batches = deadly  # type: ignore[assignment]
            train(NETWORK, TASK, RECIPE, tmp_path)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    found = load_checkpoint(tmp_path, identity_of(NETWORK, TASK, RECIPE), "cpu")
    assert found is not None and len(found.history) == 1
    assert_same(train(NETWORK, TASK, RECIPE, tmp_path), whole)


def test_a_finished_training_is_read_and_not_tested_again(
    whole: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(NETWORK, TASK, RECIPE, tmp_path)

    def never(*_: object) -> Figures:
        raise AssertionError("images were classed again")

    monkeypatch.setattr(training, "judge_split", never)
    assert_same(train(NETWORK, TASK, RECIPE, tmp_path), whole)


def other_task(**changes: object) -> Task:
    values = {
        key: getattr(TASK, key)
        for key in ("name", "train", "val", "test", "classes", "mean", "std", "synthetic", "origin")
    }
    return Task(**{**values, **changes})  # type: ignore[arg-type]


def one_pixel_off() -> Images:
    images = np.array(TASK.val.images)
    images[0, 0, 0, 0] ^= 1
    return Images(images=images, labels=np.array(TASK.val.labels))


@pytest.mark.parametrize(
    ("architecture", "task", "recipe", "message"),
    [
        (Architecture.parse("conv", TINY), TASK, RECIPE, "architecture is mbconv in it, and conv now"),
        (
            NETWORK,
            other_task(name="synthetic stripes"),
            RECIPE,
            "task is synthetic blobs in it, and synthetic stripes",
        ),
        (NETWORK, other_task(val=one_pixel_off()), RECIPE, "SHA-256 of the images is"),
        (NETWORK, other_task(mean=(0.4, 0.4, 0.5)), RECIPE, "mean is"),
        (NETWORK, TASK, dataclasses.replace(RECIPE, epochs=4), "recipe's epochs is 3 in it, and 4 now"),
        (
            NETWORK,
            TASK,
            dataclasses.replace(RECIPE, seed=9, batch=8),
            "batch is 32 in it, and 8 .*seed is 1 in it",
        ),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_by_what_differs(
    architecture: Architecture, task: Task, recipe: Recipe, message: str, tmp_path: Path
) -> None:
    stop_after(1, tmp_path)
    with pytest.raises(
        ConfigError, match=f"{CHECKPOINT}: is of another training: .*{message}.*Name another folder"
    ):
        train(architecture, task, recipe, tmp_path)


def test_a_cut_or_changed_file_is_refused_wherever_it_is_hurt(tmp_path: Path) -> None:
    stop_after(1, tmp_path)
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    identity = identity_of(NETWORK, TASK, RECIPE)
    for at in (0, 10, 40, 95, 100, len(content) // 2, len(content) - 1):
        for hurt in (content[:at], content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]):
            path.write_bytes(hurt)
            with pytest.raises(ConfigError, match="remove it to train from the start"):
                load_checkpoint(tmp_path, identity, "cpu")
    path.write_bytes(content)
    assert load_checkpoint(tmp_path, identity, "cpu") is not None


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    import hashlib
    import io

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    buffer = io.BytesIO()
    torch.save({"identity": Hostile()}, buffer)
    for payload in (buffer.getvalue(), pickle.dumps(Hostile())):
        digest = hashlib.sha256(payload).hexdigest().encode()
        (tmp_path / CHECKPOINT).write_bytes(b"harness training checkpoint 1\n" + digest + b"\n" + payload)
        with pytest.raises(ConfigError, match="do not trust it"):
            load_checkpoint(tmp_path, {}, "cpu")
    assert not (tmp_path / "ran").exists()


def test_a_write_that_fails_leaves_the_former_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(1, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left"):
        train(NETWORK, TASK, RECIPE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_what_a_kill_left_half_written_is_not_read_but_removed(whole: Trained, tmp_path: Path) -> None:
    stop_after(2, tmp_path)
    content = (tmp_path / CHECKPOINT).read_bytes()
    half = tmp_path / f".{CHECKPOINT}.0123abcd.partial"
    for former in (True, False):
        half.write_bytes(content[: len(content) // 2])
        if not former:
            (tmp_path / CHECKPOINT).unlink()
        assert_same(train(NETWORK, TASK, RECIPE, tmp_path), whole)
        assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_disk_that_fills_during_a_training_leaves_the_former_checkpoint_to_go_on_from(
    whole: Trained, small_folder: Path
) -> None:
    other = small_folder / "other"

    def fill(epoch: EpochDone) -> None:
        if epoch.number == 2:
            with contextlib.suppress(OSError), other.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass

    with pytest.raises(ConfigError, match=r"No space left on device; the disk is full: free [0-9,]+ bytes"):
        train(NETWORK, TASK, RECIPE, small_folder, on_epoch=fill)
    assert sorted(path.name for path in small_folder.iterdir()) == [CHECKPOINT, "other"]
    other.unlink()
    repeated: list[int] = []
    resumed = train(NETWORK, TASK, RECIPE, small_folder, on_epoch=lambda epoch: repeated.append(epoch.number))
    assert repeated == [3]
    assert_same(resumed, whole)


def test_files_are_laid_out_as_older_versions_wrote_them(tmp_path: Path) -> None:
    train(NETWORK, TASK, RECIPE, tmp_path / "alone")
    train_together([NETWORK, NETWORK], TASK, RECIPE, tmp_path / "together")
    alone, together = (read_checkpoint(tmp_path / name) for name in ("alone", "together"))
    assert alone is not None and together is not None
    epoch = {"number", "rate", "train", "val", "train_ns", "val_ns"}
    figures = {"images", "loss", "first", "among_five"}
    assert [set(one) for one in alone.history] == [epoch] * RECIPE.epochs
    assert alone.test is not None and set(alone.test) == set(alone.history[0]["val"]) == figures
    assert set(alone.best) == set(alone.network) and alone.terms["recipe"] == RECIPE.to_json()
    assert set(alone.terms) == {
        "space", "space_config", "architecture", "task", "source", "synthetic", "recipe", "start", "guide",
    }  # fmt: skip
    assert [set(one) for one in together.history] == [{"epochs"}] * 2
    assert [len(one["epochs"]) for one in together.history] == [RECIPE.epochs] * 2
    assert set(together.history[0]["epochs"][0]) == epoch
    assert (set(together.best), dict(together.terms), together.test) == ({"0", "1"}, {}, None)
    assert set(together.best["1"]) == set(alone.best)
    assert together.identity["architecture"] == f"{NETWORK} {NETWORK}"
