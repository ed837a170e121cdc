"""Training of one network; an epoch is in `search.training.epochs`.

    from search.training.recipe import Recipe
    from search.training.tasks import load_task
    trained = train(Architecture.parse("conv/bconv", MINI), load_task("digits", MINI), Recipe(epochs=20))
    trained.best.val.top1, trained.test.top1

    begin = Start(weights=library.assemble(student), origin="library of 3f2a...")     # fine-tuning
    tuned = train(student, task, Recipe(epochs=5), start=begin, guide=Guide(teacher=trained))

The recipe's defaults are those of the published accuracies. On a CPU, with the same torch and number of threads, the same
training gives the same bits, also when it was stopped and resumed; on an accelerator torch does not promise it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from search.training.checkpoints import identity_of
from search.training.distillation_loss import Guide, Start, beginning_of, check_beginning
from search.training.epochs import (
    WEIGHTS,
    Split,
    Teaching,
    computing,
    judge,
    judge_split,
    judging,
    learn_epoch,
    learning,
    seed_of,
)
from search.training.history import Figures
from search.training.images import Task, check_fit
from search.training.lone_images import check_lone_image
from search.training.memory import is_out_of_memory
from search.training.recipe import Recipe
from search.training.trained import Trained, environment_of, network_of, plain_terms
from search.training.training_run import Clock, OnEpoch, TrainingRun
from space import Architecture
from space.errors import ConfigError, HarnessError
from space.networks import AnyNetwork, build_network

__all__ = ["Guide", "Start", "Trained", "judge", "train"]


def train(
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    folder: str | Path | None = None,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
    clock_ns: Clock = time.perf_counter_ns,
    start: Start | None = None,
    guide: Guide | None = None,
) -> Trained:
    """Train a network from fresh or given weights, and test it once, with the weights of its best epoch.

    `folder` keeps a checkpoint after every epoch: called again with the same architecture, task, recipe, start and guide, a
    training that was stopped resumes after its last whole epoch, and a finished one is read. `device` is as torch names it.
    `on_epoch` is called after every epoch, once its checkpoint is written. With a `guide`, training losses include the teacher's.
    The result's recipe has the layout in which it ran: see `laid_recipe`.

    Raises:
        ConfigError: the task or the batch does not fit the space, the start or the teacher does not fit the network, torch has
            no such device, the folder's checkpoint is damaged or of another training, or it cannot be written.
        HarnessError: a loss is not finite; the message names the epoch and the batch. Or memory ran out; the message names
            the batch, and one that fits.
    """
    check_fit(task, architecture.config)
    recipe = laid_recipe(architecture, recipe)
    check_beginning(architecture, start, guide)
    check_batches([architecture], task, recipe)
    place = usable_device(device)
    with torch.inference_mode(False), torch.enable_grad():  # wherever it is called from
        network, teaching, (train_set, val_set) = _on_device(architecture, task, recipe, place, start, guide)
        run = TrainingRun(
            architectures=[architecture],
            task=task,
            recipe=recipe,
            network=network,
            identity=identity_of(architecture, task, recipe) | beginning_of(start, guide),
            environment=environment_of(place),
            terms=plain_terms(
                architecture,
                recipe,
                task=task.name,
                source=task.source,
                synthetic=task.synthetic,
                start=start.origin if start else "",
                guide=guide.terms if guide else {},
            ),
            folder=None if folder is None else Path(folder),
            device=device,
        )
        learned = learning(network, computing(network, recipe, teaching))
        judged = judging(computing(network, replace(recipe, label_smoothing=0.0)))

        def test() -> list[Figures]:
            network.load_state_dict(run.best[0])
            return [judge_split(network, Split(task.test, task, place), recipe, "test", judged)]

        run.train(
            lambda number: learn_epoch(network, run.optimizer, train_set, recipe, number, learned),
            lambda number: [judge_split(network, val_set, recipe, f"epoch {number}, validation", judged)],
            lambda: [{name: tensor.clone() for name, tensor in network.state_dict().items()}],
            clock_ns,
            on_epoch,
        )
        (trained,) = run.finish(test)
    return trained


# --- initial state --------------------------------------------------------------------------------


def fresh_network(architecture: Architecture, recipe: Recipe) -> AnyNetwork:
    """Return a network with the initial weights of the recipe's seed, laid out as the recipe says."""
    # Layers draw from torch's own generator: it is lent to them, seeded, and put back. Only that of the CPU is seeded.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(recipe, WEIGHTS))
        network = build_network(architecture)
    return _laid_out(network, recipe)


def _on_device(
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    place: torch.device,
    start: Start | None,
    guide: Guide | None,
) -> tuple[AnyNetwork, Teaching | None, tuple[Split, Split]]:
    """Return the network with its initial weights, its teacher, and the training and validation images, on the device."""
    network = fresh_network(architecture, recipe)
    if start:
        network.load_state_dict(start.weights)
    try:
        network = network.to(place)
        teaching = _teaching(guide, recipe, place) if guide else None
        return network, teaching, (Split(task.train, task, place), Split(task.val, task, place))
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        raise HarnessError(
            f"training on {place}: out of memory before the first batch: the network and {len(task.train)} images do not fit, "
            "whatever the batch; use a device with more memory"
        ) from e


def laid_recipe(architecture: Architecture, recipe: Recipe) -> Recipe:
    """Return a recipe with the layout in which a network is trained: networks of a definition always run channels first.

    See `search.training.stacked_modules.channels_first`; Blox has no convolution of that kind.
    """
    return recipe if architecture.config.chain is None else replace(recipe, channels_last=False)


def _laid_out(network: AnyNetwork, recipe: Recipe) -> AnyNetwork:
    """Return a network in the recipe's memory layout; weights and their names stay."""
    if recipe.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _teaching(guide: Guide, recipe: Recipe, place: torch.device) -> Teaching:
    teacher = network_of(guide.teacher.architecture, guide.teacher.weights)
    network = _laid_out(teacher, recipe).to(place).eval().requires_grad_(False)
    return Teaching(network=network, weight=guide.weight, temperature=guide.temperature)


def check_batches(architectures: Sequence[Architecture], task: Task, recipe: Recipe) -> None:
    """Refuse a batch that would leave one image alone where BatchNorm cannot take one. Raises: ConfigError."""
    config = architectures[0].config
    shape = (config.in_channels, config.image_size, config.image_size)
    networks = ((f"network {one}", fresh_network(one, recipe)) for one in architectures)
    check_lone_image("recipe", recipe.batch, len(task.train), config, shape, networks)


def usable_device(device: str) -> torch.device:
    """Return a device by torch's name for it. Raises: ConfigError when torch cannot use it."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        raise ConfigError(f"training: device {device!r} cannot be used: {e}") from e
    return torch.device(device)
