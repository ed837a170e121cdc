"""`harness train` on a tiny space: what it keeps, what it goes on from, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rigs.commands import Done, refused, run
from rigs.small_disk import small_disk

import search.training.training
from harness.commands.workers import Workers
from search.training.recipe import SHORT, Recipe, default_recipe
from search.training.tasks import load_task
from search.training.training import Trained, train
from search.work.local_pool import LocalPool
from search.work.ray_cluster import RayCluster
from space import TINY, Architecture
from space.accuracies import load_accuracies
from space.dataset import read_dataset
from space.errors import HarnessError
from space.networks import build_network

pytestmark = pytest.mark.training

NETWORKS = ("conv/conv", "bconv/conv")
FEW = "synthetic:0:4/2/2"  # images of each class: an epoch takes a moment
MANY = "synthetic:0:20/2/2"  # and here long enough to be killed in
QUICK = ("--space", "tiny", "--task", FEW, "--epochs", "1")


def trained(folder: Path, *arguments: str) -> Done:
    return run("sqlite://", "train", *arguments, "--output", str(folder))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder with two trained networks, and what the command left."""
    folder = tmp_path_factory.mktemp("trained") / "out"
    done = trained(folder, *NETWORKS, *QUICK)
    assert done.status == 0, done.stderr
    return folder, done


# --- what is kept ---------------------------------------------------------------------------------


def test_the_table_names_each_network_and_says_that_the_images_are_synthetic(
    first: tuple[Path, Done],
) -> None:
    lines = first[1].stdout.splitlines()
    assert lines[0].startswith("2 networks of tiny trained on synthetic-0-4-2-2, 1 epoch, recipe ")
    assert lines[0].endswith("of 20 and 20 synthetic images")
    assert lines[1].split() == ["network", "val", "top-1", "test", "top-1", "best", "epoch", "seconds"]
    assert [line.split()[0] for line in lines[2:]] == list(NETWORKS)


def test_progress_names_networks_and_epochs(first: tuple[Path, Done]) -> None:
    assert "conv/conv: epoch 1 of 1" in first[1].stderr
    assert "bconv/conv is done" in first[1].stderr and "train " not in first[1].stderr


def test_the_folder_holds_published_files_of_the_same_accuracies(first: tuple[Path, Done]) -> None:
    folder, _ = first
    again = trained(folder, *NETWORKS, *QUICK, "--json")
    rows = again.json["networks"]
    assert [row["architecture"] for row in rows] == list(NETWORKS)
    assert all(row["synthetic"] for row in rows) and again.json["task"]["name"] == "synthetic-0-4-2-2"
    read = load_accuracies([str(folder)], metric="test_top1", config=TINY)
    for row in rows:
        assert read.values[row["index"]] == pytest.approx(row["test_top1"], abs=5e-4)


def test_a_second_run_trains_nothing_again_and_a_third_network_joins_the_files(
    tmp_path: Path, first: tuple[Path, Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    assert trained(folder, NETWORKS[0], *QUICK).status == 0
    before = (folder / "weights-0/conv.conv.pt").stat().st_mtime_ns
    calls = []

    def watched(one: Architecture, *rest: Any, **more: Any) -> Trained:
        calls.append(str(one))
        return train(one, *rest, **more)

    monkeypatch.setattr(search.training.training, "train", watched)
    done = trained(folder, *NETWORKS, *QUICK, "--json")
    assert calls == [NETWORKS[1]] and len(done.json["networks"]) == 2
    assert (folder / "weights-0/conv.conv.pt").stat().st_mtime_ns == before
    assert trained(folder, "mbconv/conv", *QUICK).status == 0
    assert (load_accuracies([str(folder)], config=TINY).values >= 0).sum() == 3


def test_weights_are_state_dicts_of_the_network(first: tuple[Path, Done]) -> None:
    network = build_network(Architecture.parse("bconv/conv", TINY))
    network.load_state_dict(torch.load(first[0] / "weights-0/bconv.conv.pt", weights_only=True))


def test_weights_of_one_space_are_not_exported_as_a_network_of_another(
    tmp_path: Path, first: tuple[Path, Done]
) -> None:
    weights = str(first[0] / "weights-0/bconv.conv.pt")
    done = run(
        "sqlite://", "export", "bconv/conv", "--space", "mini", "--checkpoint", weights, "--format", "onnx",
        "--output", str(tmp_path / "network.onnx"),
    )  # fmt: skip
    assert done.status == 4 and list(tmp_path.iterdir()) == []
    for part in (
        weights,
        "bconv/conv of space 'tiny', not of bconv/conv of space 'mini'",
        "name the architecture",
    ):
        assert part in done.stderr


def test_jobs_threads_accelerator_and_cluster_reach_the_runner() -> None:
    assert Workers(jobs=3, threads=2, accelerator="cuda").runner() == LocalPool(
        processes=3, threads_each=2, device="cuda"
    )
    cluster = RayCluster(address="head:6379", threads_each=2, device="cuda")
    assert Workers(threads=2, accelerator="cuda", ray="head:6379").runner() == cluster


def test_seeds_stand_beside_each_other_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert trained(folder, NETWORKS[0], *QUICK).status == 0
    assert trained(folder, NETWORKS[1], *QUICK, "--seed", "1").status == 0
    assert {path.name for path in folder.glob("blox-base-*")} == {"blox-base-0.blox", "blox-base-1.blox"}
    assert len(read_dataset(folder / "blox-info.blox", config=TINY).indices) == 2


# --- killed and run again -------------------------------------------------------------------------


@pytest.mark.long
def test_killed_in_the_middle_it_goes_on_after_the_last_whole_epoch_to_the_same_bits(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    arguments = ["conv/conv", "--space", "tiny", "--task", MANY, "--epochs", "2", "--output", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.commands.app", "train", *arguments],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        while not list(folder.glob("scratch/*/checkpoint.harness")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not list(folder.glob("units/*")), "killed too late: it had finished"
    done = run("sqlite://", "train", *arguments)
    assert done.status == 0, done.stderr
    assert "epoch 2 of 2" in done.stderr and "epoch 1 of 2" not in done.stderr
    done = run("sqlite://", "train", *arguments, "--json")

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = train(
            Architecture.parse("conv/conv", TINY),
            load_task(MANY, TINY),
            Recipe.from_json(
                json.dumps({key: v for key, v in done.json["recipe"].items() if key != "digest"})
            ),
        )
    finally:
        torch.set_num_threads(before)
    (row,) = done.json["networks"]
    assert (row["val_top1"], row["test_top1"]) == (whole.best.val.top1, whole.test.top1)
    found = torch.load(row["weights"], weights_only=True)
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.weights.items())


# --- the recipe -----------------------------------------------------------------------------------


def test_the_usual_recipe_is_the_published_one_for_photographs_alone() -> None:
    assert default_recipe("/data/cifar") == Recipe()
    assert (
        default_recipe("digits")
        == default_recipe("synthetic")
        == default_recipe("synthetic:3:2/2/2")
        == SHORT
    )


def test_a_recipe_file_is_taken_and_single_values_go_before_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"epochs": 5, "batch": 32, "learning_rate": 0.02}))
    arguments = (
        "--space",
        "tiny",
        "--task",
        FEW,
        "--recipe",
        str(path),
        "--epochs",
        "1",
        "--augmentation",
        "none",
    )
    recipe = trained(tmp_path / "out", NETWORKS[0], *arguments, "--json").json["recipe"]
    assert (recipe["epochs"], recipe["batch"], recipe["learning_rate"]) == (1, 32, 0.02)
    assert recipe["augmentation"]["crop_padding"] == 0 and recipe["weight_decay"] == 5e-4


# --- what goes wrong ------------------------------------------------------------------------------


def test_one_network_that_diverges_is_named_and_the_others_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sometimes(one: Architecture, *rest: Any, **more: Any) -> Trained:
        if str(one) == "conv/conv":
            raise HarnessError("epoch 1, training at rate 1: the loss of batch 1 is nan; give a lower rate")
        return train(one, *rest, **more)

    monkeypatch.setattr(search.training.training, "train", sometimes)
    done = trained(tmp_path / "out", *NETWORKS, *QUICK, "--json")
    assert (
        done.status == 1
        and "conv/conv: epoch 1, training at rate 1: the loss of batch 1 is nan" in done.stderr
    )
    assert [row["architecture"] for row in done.json["networks"]] == ["bconv/conv"]
    assert done.json["not_trained"] == ["conv/conv"]
    assert (tmp_path / "out/blox-base-0.blox").exists()


def test_a_rate_that_no_network_stands_is_refused_by_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    done = trained(tmp_path / "out", NETWORKS[0], *QUICK, "--learning-rate", "1e30", "--batch", "8")
    assert done.status == 1 and "the training has diverged" in done.stderr and done.stdout == ""
    assert not list((tmp_path / "out").glob("blox-*"))


def test_a_full_disk_is_named_and_with_room_again_the_same_command_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8_000_000) as disk:
        disk.fill(leave_bytes=40_000)
        done = trained(disk.folder / "out", NETWORKS[0], *QUICK)
        assert done.status == 2 and "No space left on device" in done.stderr and "disk is full" in done.stderr
        assert not list(disk.folder.glob("out/blox-*"))
        disk.free()
        assert trained(disk.folder / "out", NETWORKS[0], *QUICK).status == 0


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (("conv/conv", "--space", "tyni"), ["space 'tyni' is not known; did you mean 'tiny'?"]),
        (
            ("conv/conv/conv", "--space", "blox"),
            ["task 'digits' is 10 classes", "space 'blox' reads 100 classes"],
        ),
        (("conv/conv/conv", "--space", "tiny"), ["has 3 blocks; space 'tiny' has 2 stages"]),
        (
            ("conv/conv", "--space", "tiny", "--task", "digit"),
            ["'digit' is no task", "cifar-100-binary.tar.gz"],
        ),
        (
            ("conv/conv/conv", "--task", "{folder}"),
            ["cifar-100-binary.tar.gz", "train.bin, test.bin", "download"],
        ),
        (("conv/conv", "--space", "tiny", "--augmentation", "publish"), ["did you mean 'published'?"]),
        (("conv/conv", "--space", "tiny", "--learning-rate", "-1"), ["recipe: learning_rate = -1.0"]),
        (("conv/conv", "--space", "tiny", "--recipe", "{folder}/none.json"), ["none.json: cannot be read"]),
        (
            ("conv/conv", "--space", "tiny", "--recipe", "{folder}/bad.json"),
            ["bad.json: recipe has no 'epoch'"],
        ),
        (("conv/conv", *QUICK, "--accelerator", "cuda:9"), ["device 'cuda:9' cannot be used"]),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, arguments: tuple[str, ...], messages: list[str]) -> None:
    (tmp_path / "bad.json").write_text('{"epoch": 3}')
    done = trained(tmp_path / "out", *(text.format(folder=tmp_path) for text in arguments))
    refused(done, *messages)


def test_a_folder_of_another_recipe_is_refused_with_what_differs(first: tuple[Path, Done]) -> None:
    done = trained(first[0], NETWORKS[0], "--space", "tiny", "--task", FEW, "--epochs", "2")
    refused(done, "recipe's epochs is 1 there, 2 now", "another --output")
    done = trained(first[0], NETWORKS[0], "--space", "tiny", "--task", "synthetic:1:4/2/2", "--epochs", "1")
    refused(done, "synthetic:0:4/2/2", "synthetic:1:4/2/2")
