"""`harness distill`: a teacher becomes a library of blocks; run again, it goes on; bad wishes are named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from factories.spaces import TWO_OPS, make_known
from rigs.commands import Done, refused
from rigs.commands import run as run_command

from search.blockwise.rounds import library_flops
from search.distillation.block_library import load_library
from search.training.tasks import load_task
from search.training.trained_files import save_trained
from search.work.training_folder import load_teacher
from space.errors import ConfigError

pytestmark = pytest.mark.training

TASK = "synthetic:0:4/2/2"
FAST = ("--epochs", "1", "--batch", "20")


def run(*arguments: str) -> Done:
    return run_command("sqlite://", *arguments)


@pytest.fixture(scope="module", autouse=True)
def two_ops() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_known(patch, TWO_OPS)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `harness train` with two networks, trained together."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    found = run(
        *(
            "train",
            "conv/conv",
            "conv-mbconv+in/mbconv",
            "--space",
            TWO_OPS.name,
            "--task",
            TASK,
            "--together",
            "2",
        ),
        *("--output", str(folder), *FAST),
    )
    assert found.status == 0, found.stderr
    return folder


@pytest.fixture(scope="module")
def distilled(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder with a library, and what the command that made it put out."""
    folder = tmp_path_factory.mktemp("library") / "lib"
    found = run("distill", str(trained), "--network", "conv/conv", "--output", str(folder), *FAST)
    assert found.status == 0, found.stderr
    return folder, found


@pytest.fixture(scope="module")
def library(distilled: tuple[Path, Done]) -> Path:
    return distilled[0]


def test_a_library_holds_every_block_of_every_stage_and_says_synthetic(
    distilled: tuple[Path, Done], trained: Path
) -> None:
    library, made = distilled
    found = load_library(library)
    assert str(found.teacher.architecture) == "conv/conv" and found.missing == ()
    assert [len(one.blocks) for one in found.stages if one] == [len(TWO_OPS.blocks)] * 2
    title = "".join(made.stdout.splitlines()[:2])
    assert "synthetic-0-4-2-2" in title
    assert "20 synthetic validation images" in made.stdout.replace("\n", " ")
    again = run("distill", str(trained), "--network", "conv/conv", "--output", str(library), *FAST, "--json")
    assert again.status == 0 and "epoch" not in again.stderr  # nothing is distilled twice
    document = again.json
    block = document["stages"][1]["blocks"][-1]
    assert document["digest"] == found.digest and block["block"] == str(found.config.blocks[-1])
    assert block["synthetic_nsr"] == pytest.approx(found.stages[1].nsr[-1])
    assert block["params"] > 0 and "nsr" not in block


def test_a_published_form_gives_way_to_what_is_typed_and_is_told(trained: Path, tmp_path: Path) -> None:
    command = ("distill", str(trained), "--network", "conv/conv", "--output", str(tmp_path / "dna"))
    done = run(*command, "--form", "dna", *FAST, "--json")
    assert done.status == 0, done.stderr
    assert done.json["form"] == "a supernet a stage, fair paths, mse, 1 epoch, as DNA does"
    assert [one["recipe"]["batch"] for one in done.json["stages"]] == [20, 20]
    refused(run(*command, "--form", "dan"), "form 'dan' is unknown; did you mean 'dna'")
    recipe = tmp_path / "recipe.json"
    recipe.write_text("{}")
    refused(
        run(*command, "--form", "dna", "--recipe", str(recipe)), "form 'dna': a whole recipe says all that"
    )
    refused(
        run(*command, "--paths", "fair"),
        "blocks with separate weights have no paths; share their weights",
        "--shared",
    )


def test_blocks_may_share_weights_at_a_part_of_the_cost(trained: Path, library: Path, tmp_path: Path) -> None:
    done = run(
        "distill", str(trained), "--network", "conv/conv", "--output", str(tmp_path), "--shared", *FAST
    )
    assert done.status == 0, done.stderr
    shared, apart = load_library(tmp_path), load_library(library)
    assert all(one.recipe.shared and len(one.blocks) == len(TWO_OPS.blocks) for one in shared.stages if one)
    name = "reduction.shallow.0.weight"  # one reduction for all blocks of a stage
    assert all(
        torch.equal(state[name], shared.stage(0).weights[0][name]) for state in shared.stage(0).weights
    )
    assert not torch.equal(apart.stage(0).weights[0][name], apart.stage(0).weights[1][name])
    task = load_task(TASK, TWO_OPS)
    part = library_flops(shared.teacher, shared, task) / library_flops(apart.teacher, apart, task)
    calibrated = 1 / 3  # a forward pass of every block, where apart each has a step for every image
    assert calibrated < part < calibrated + 0.1


def test_one_stage_can_be_distilled_alone_and_the_other_later(trained: Path, tmp_path: Path) -> None:
    one = run(
        "distill", str(trained), "--network", "conv/conv", "--output", str(tmp_path), "--stage", "1", *FAST
    )
    assert one.status == 0 and "stage 0 missing" in one.stderr
    assert "\nstage 1: blocks 1 to 21 of 21, epoch 1 of 1\nstage 1 is done in " in f"\n{one.stderr}"
    assert "distil-stage" not in one.stderr
    assert load_library(tmp_path).missing == (0,)


def test_a_teacher_is_the_most_accurate_one_the_one_named_or_a_file(trained: Path, tmp_path: Path) -> None:
    both = [load_teacher(trained, name) for name in ("conv/conv", "conv-mbconv+in/mbconv")]
    best = max(both, key=lambda one: (one.best.val.first, -one.best.val.loss))
    assert load_teacher(trained).architecture == best.architecture
    path = tmp_path / "teacher.harness"
    save_trained(path, both[0])
    assert load_teacher(path, "conv/conv").architecture == both[0].architecture
    with pytest.raises(ConfigError, match=r"--network conv/mbconv: .* holds conv/conv; leave it out"):
        load_teacher(path, "conv/mbconv")
    with pytest.raises(ConfigError, match=r"'conv/conf' was not trained in .*did you mean 'conv/conv'"):
        load_teacher(trained, "conv/conf")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--stage", "2"), "stage 2: space 'two-ops' has stages 0 to 1"),
        (("--loss", "l1"), "loss = 'l1'; choose one of nsr, mse"),
        (("--task", "nowhere"), "'nowhere' is no task"),
        (("--task", "/"), "cifar-10-binary.tar.gz"),
        (("--augmentation", "mid"), "did you mean 'mild'"),
        (("--recipe", "nowhere.json"), "--recipe nowhere.json: cannot be read"),
    ],
)
def test_what_does_not_fit_is_named(
    trained: Path, tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    found = run("distill", str(trained), "--output", str(tmp_path / "lib"), *more)
    assert found.status == 2 and message in found.stderr
    assert not (tmp_path / "lib").exists()


def test_a_library_is_of_one_teacher(library: Path, trained: Path, tmp_path: Path) -> None:
    found = run(
        "distill", str(trained), "--network", "conv-mbconv+in/mbconv", "--output", str(library), *FAST
    )
    assert found.status == 2 and "library of another teacher" in found.stderr
    found = run("distill", str(tmp_path / "nowhere"), "--output", str(tmp_path / "lib"))
    assert found.status == 2 and "nowhere" in found.stderr


def test_the_command_line_starts_without_numpy() -> None:
    """It takes longer than all else that `harness --help` and `harness devices` need."""
    code = "import sys, harness.commands.app; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
