"""Distillation of modules that keep more than weights: tensors beside them, numbers read as they are made, dropout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from factories.own_spaces import write_space
from factories.small_distillations import small_teacher
from torch import Tensor

from search.distillation.block_library import stage_content, stage_from
from search.distillation.distill import distil_stage
from search.distillation.losses import stacked_stages
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import BlockGroup
from search.distillation.supernet import calibrated, judge_paths, learned_supernet
from search.distillation.teacher_features import StageTask, teacher_features
from search.training.images import Task
from search.training.recipe import Recipe
from search.training.synthetic_images import make_synthetic_task
from search.training.trained import Trained, check_weights
from search.training.training import train
from space import SpaceConfig, load_space
from space.errors import ConfigError
from space.networks import build_network, build_stage

pytestmark = pytest.mark.training

DEFINITION = """
name = "kept"
image_size = 8
classes = 3

[candidates]
conv = "conv"
own = "own_ops:own"

[stem]
module = "conv"
channels = 4

[[sites]]
candidates = ["conv", "own"]

[head]
module = "linear"
"""

OWN = """
import torch
from torch import nn


class Own(nn.Module):
    def __init__(self, channels_in, channels_out, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1)
        KEPT

    def forward(self, x):
        return ANSWER


def own(channels_in, channels_out, stride):
    return Own(channels_in, channels_out, stride)
"""

KEPT = {
    "a tensor": ("self.k = torch.full((4, 1, 3, 3), 1 / 9)", "(self.conv(x), self.k, padding=1, groups=4)"),
    "a buffer": (
        'self.register_buffer("k", torch.full((4, 1, 3, 3), 1 / 9), persistent=False)',
        "(self.conv(x), self.k, padding=1, groups=4)",
    ),
    "a number": ("self.k = torch.linspace(0, 1, 5)[2].item()", "self.conv(x) * self.k"),
}
RECIPES = (
    DistilRecipe(epochs=1, batch=6),
    DistilRecipe(epochs=1, batch=6, shared=True, paths="fair"),
)


def space(folder: Path, kept: str, answer: str) -> SpaceConfig:
    """Return a space of one stage, whose candidate `own` keeps and answers what is given."""
    answer = f"nn.functional.conv2d{answer}" if answer.startswith("(") else answer
    return load_space(write_space(folder, DEFINITION, OWN.replace("KEPT", kept).replace("ANSWER", answer)))


def made(config: SpaceConfig) -> tuple[Trained, Task]:
    """Return a teacher and images."""
    return small_teacher("conv", config=config), make_synthetic_task(config, 1, (6, 3, 3))


def answers(network: torch.nn.Module) -> Tensor:
    """Return what a network answers to noise, for the second of two blocks: (2, 4, 8, 8)."""
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return network.eval()(x.repeat(1, getattr(network, "members", 1), 1, 1))[:, -4:]


@pytest.mark.parametrize("recipe", RECIPES, ids=["separate", "shared"])
@pytest.mark.parametrize("kept", KEPT)
def test_what_a_module_keeps_beside_its_weights_is_used(
    kept: str, recipe: DistilRecipe, tmp_path: Path
) -> None:
    teacher, task = made(space(tmp_path, *KEPT[kept]))
    before = torch.get_rng_state()
    found = distil_stage(StageTask(teacher, task, 0), recipe)
    alone = build_stage(found.place, found.blocks[1])
    alone.load_state_dict(dict(found.weights[1]))
    torch.set_rng_state(before)
    assert torch.equal(answers(stacked_stages(found)), answers(alone))
    assert torch.equal(before, torch.get_rng_state())


def test_weights_of_layers_that_were_put_in_another_order_are_refused(tmp_path: Path) -> None:
    layers = ["self.a = nn.Conv2d(4, 4, 3, 1, 1)", "self.b = nn.Conv2d(4, 4, 3, 1, 1)"]
    configs = []
    for order in (layers, layers[::-1]):
        (tmp_path / order[0][5]).mkdir()
        configs.append(space(tmp_path / order[0][5], "; ".join(order), "self.b(self.a(self.conv(x)).relu())"))
    config, turned = configs
    assert config.name == turned.name  # they compute the same
    teacher, task = made(config)
    content = stage_content(distil_stage(StageTask(teacher, task, 0), RECIPES[0]))
    assert len(stage_from(content).blocks) == 2
    with pytest.raises(ConfigError, match="block own of stage 0: its weights have other names, shapes or"):
        stage_from({**content, "space_config": turned.to_plain()})


DROPPED = (
    "self.norm = nn.BatchNorm2d(4)",
    "self.norm(self.conv(nn.functional.dropout(x, 0.5, self.training)))",
)


def test_a_supernet_is_judged_and_its_statistics_are_taken_without_dropout(tmp_path: Path) -> None:
    teacher, task = made(space(tmp_path, *DROPPED))
    found = distil_stage(StageTask(teacher, task, 0), RECIPES[1])
    with teacher_features(StageTask(teacher, task, 0)) as learned:
        blocks, place = found.blocks, found.place
        group = BlockGroup(stage=place, blocks=blocks, recipe=RECIPES[1])
        again, more = (calibrated(found.weights, group, learned) for _ in range(2))
        network, _ = learned_supernet(group, learned)
        scores = [judge_paths(network, blocks, learned, torch.ones(4, 1, 1), 6).tolist() for _ in range(2)]
    norms = [name for name in again[1] if "running" in name]
    assert norms and all(torch.equal(again[1][name], more[1][name]) for name in norms)
    assert scores[0] == scores[1]


@pytest.mark.parametrize("recipe", RECIPES, ids=["separate", "shared"])
def test_equal_distillations_and_trainings_with_dropout_are_the_same_bits(
    recipe: DistilRecipe, tmp_path: Path
) -> None:
    teacher, task = made(space(tmp_path, *DROPPED))
    before = torch.get_rng_state()
    weights = []
    for _ in range(2):
        found = distil_stage(StageTask(teacher, task, 0), recipe)
        trained = train(teacher.architecture.config[1], task, Recipe(epochs=1, batch=6))
        weights.append([state["sites.0.conv.weight"] for state in (found.weights[1], trained.weights)])
        assert torch.equal(before, torch.get_rng_state())
        torch.rand(1)
        before = torch.get_rng_state()
    assert all(map(torch.equal, *weights))


def test_weights_are_checked_of_modules_that_read_numbers_as_they_are_made(tmp_path: Path) -> None:
    config = space(tmp_path, *KEPT["a number"])
    check_weights(build_network(config[1]).state_dict(), config[1], "test")
