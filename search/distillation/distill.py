"""Distill the blocks of one stage from a teacher, all of them together, to be read top to bottom.

    teacher = load_trained(Path("teacher.harness"))
    stage_task = StageTask(teacher, load_task(teacher.source, TINY), stage=0)
    stage = distil_stage(stage_task, DistilRecipe(epochs=20))
    stage.nsr                               # (B,): the noise-to-signal ratio of each block's output to the teacher's

Every candidate block learns alone to turn the input of the teacher's stage into its output (DNA, arXiv:1911.13053; DONNA,
arXiv:2012.08859; LANA, arXiv:2107.10624). The teacher runs once over the images; its features are shared by all blocks; and the
blocks are stacked into one module of grouped convolutions (`search.training.stacked_modules`), in which each has the gradients
that it would have alone. A block's initial weights depend on the recipe's seed, the stage and the block, not on which others
are trained. Shapes at the line ends are (batch, channels, height, width); N blocks are trained at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.distillation.block_library import StageLibrary
from search.distillation.checkpoints import DistilProgress
from search.distillation.losses import judge_stages, loaded_stages
from search.distillation.packing import layout_of, shapes_of
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import BlockGroup, distil_seed, fresh_stage, train_separate
from search.distillation.supernet import train_shared
from search.distillation.teacher_features import FeatureMaps, StageTask, Views, teacher_features
from search.training.history import EpochDone
from search.training.lone_images import check_lone_image
from search.training.trained import Trained, environment_of, trained_digest
from space import Block
from space.errors import ConfigError
from space.stages import SpaceStage

ACTIVATION_BYTES = 2 << 30  # about the limit of feature maps of all blocks trained at once
# What a block keeps for its gradients, at most: in Blox feature maps of its stage's width, by count of bconv's layers; of another
# module its largest maps, as often as convolutions, norms and activations follow one another in a block of three.
_MAPS, _PEAKS = 300, 4


def distil_stage(
    stage_task: StageTask,
    recipe: DistilRecipe,
    blocks: Sequence[Block] | None = None,
    *,
    folder: Path | None = None,
    together: int | None = None,
    on_epoch: Callable[[EpochDone], None] | None = None,
) -> StageLibrary:
    """Distill blocks of a stage, by default all, from the teacher's stage; evaluate them on the images for profiling.

    `folder` keeps a checkpoint after every epoch, from which the same call resumes; it is removed at the end. `together` blocks
    are trained at once, by default as many as about 2 GiB of feature maps allow. `on_epoch` is called after every epoch of a
    group of blocks.

    Raises:
        ConfigError: the space has no such stage or block, or one whose weights no library keeps, the task does not fit it, the
            batch leaves one image alone, or the folder's checkpoint is damaged or of another distillation.
        HarnessError: a loss is not finite, or memory ran out; the message names the block, or a batch that fits.
    """
    stage, task = stage_task.place, stage_task.task
    chosen = _chosen(stage, blocks)
    for block in chosen:
        layout_of(block, stage)  # refuses weights that no library keeps
    fresh = (
        (f"block {block} in stage {stage.number}", fresh_stage(recipe, stage, block)) for block in chosen
    )
    check_lone_image(
        "distillation recipe", recipe.batch, len(task.train), stage.config, stage.input_shape, fresh
    )
    begin = time.perf_counter()
    whole = BlockGroup(
        stage=stage,
        blocks=tuple(chosen),
        recipe=recipe,
        device=stage_task.device,
        at_once=together or together_for(stage, recipe.batch),
    )
    progress = DistilProgress(folder, _identity(stage_task, whole))
    seed = distil_seed(recipe, "views", stage.number)
    views = Views(count=recipe.views, augmentation=recipe.augmentation, seed=seed)
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        teacher_features(stage_task, views=views) as learned,
        teacher_features(stage_task, "profile") as held_out,
    ):
        report = on_epoch or (lambda epoch: None)
        _distil_groups(stage_task.teacher, whole, learned, held_out, progress, report)
    progress.remove()
    return _library_of(stage_task, whole, progress.done, time.perf_counter() - begin)


def together_for(stage: SpaceStage, batch: int) -> int:
    """Return the default number of blocks of a stage trained at once: as many as `ACTIVATION_BYTES` hold, at least 1."""
    return max(1, ACTIVATION_BYTES // (_kept_bytes(stage) * batch))


def _kept_bytes(stage: SpaceStage) -> int:
    """Estimate the bytes of feature maps that the largest block of a stage keeps for the gradients of an image."""
    chain = stage.config.chain
    if chain is None:
        return 4 * _MAPS * math.prod(stage.input_shape)
    sites = [chain.sites[place] for place in stage.sites]
    return _PEAKS * max(sum(site.runs(block).traced.peak_bytes for site in sites) for block in stage.blocks)


def _distil_groups(
    teacher: Trained,
    whole: BlockGroup,
    learned: FeatureMaps,
    held_out: FeatureMaps,
    progress: DistilProgress,
    on_epoch: Callable[[EpochDone], None],
) -> None:
    """Distill the groups of blocks that are not finished yet, one after the other, into `progress`."""
    blocks, recipe = whole.blocks, whole.recipe
    size = len(blocks) if recipe.shared else whole.at_once
    train = train_shared if recipe.shared else train_separate
    for first in range(0, len(blocks), size):
        if first in progress.done:
            continue
        group = replace(whole, blocks=blocks[first : first + size])

        def report(number: int, first: int = first, count: int = len(group.blocks)) -> None:
            on_epoch(
                EpochDone(number=number, epochs=recipe.epochs, first=first, blocks=count, of=len(blocks))
            )

        progress.finish(first, _evaluated(teacher, group, *train(group, learned, progress, report), held_out))


def _evaluated(
    teacher: Trained,
    group: BlockGroup,
    weights: list[dict[str, torch.Tensor]],
    history: list[list[float]],
    held_out: FeatureMaps,
) -> dict[str, Any]:
    """Return the weights, history and held-out errors of trained blocks; with `keep_own` the teacher's block has its weights."""
    stage, blocks = group.stage, group.blocks
    own = teacher.architecture.blocks[stage.number]
    if group.recipe.keep_own and own in blocks:
        names = shapes_of(own, stage)
        weights[blocks.index(own)] = {name: teacher.weights[stage.prefix + name].clone() for name in names}
    mse, nsr = [], []
    for first in range(0, len(blocks), group.at_once):
        part = slice(first, first + group.at_once)
        stages = loaded_stages(weights[part], blocks[part], stage, group.device)
        found = judge_stages(stages, held_out, group.recipe.batch, group.device)
        mse += found[0].tolist()
        nsr += found[1].tolist()
    return {
        "weights": [{name: tensor.cpu() for name, tensor in state.items()} for state in weights],
        "history": history,
        "mse": mse,
        "nsr": nsr,
    }


def _library_of(
    stage_task: StageTask, group: BlockGroup, done: Mapping[int, Mapping[str, Any]], seconds: float
) -> StageLibrary:
    """Return the distilled stage of all finished groups, by their first block's place."""
    results = [done[first] for first in sorted(done)]
    teacher, task = stage_task.teacher, stage_task.task
    at_once = min(group.at_once, len(group.blocks))
    return StageLibrary(
        config=teacher.architecture.config,
        teacher=trained_digest(teacher),
        task=task.name,
        source=task.source,
        stage=group.stage.number,
        recipe=group.recipe,
        blocks=tuple(group.blocks),
        weights=tuple(state for one in results for state in one["weights"]),
        history=np.concatenate([np.array(one["history"], dtype=np.float64) for one in results], axis=1),
        mse=np.concatenate([np.array(one["mse"]) for one in results]),
        nsr=np.concatenate([np.array(one["nsr"]) for one in results]),
        seconds=seconds,
        environment=environment_of(torch.device(group.device)) | {"together": str(at_once)},
    )


def _chosen(stage: SpaceStage, blocks: Sequence[Block] | None) -> list[Block]:
    if blocks is None:
        return list(stage.blocks)
    chosen = list(dict.fromkeys(blocks))
    for block in chosen:
        if block not in stage.blocks:
            raise ConfigError(
                f"space {stage.config.name!r} has no block {block} in stage {stage.number}; its blocks are of "
                f"{', '.join(stage.ops)}"
            )
    if not chosen:
        raise ConfigError("no block to distill was named")
    return chosen


def _identity(stage_task: StageTask, group: BlockGroup) -> dict[str, str]:
    task = stage_task.task
    return {
        "teacher": trained_digest(stage_task.teacher),
        "task": f"{task.name}, images {task.images_digest}",
        "stage": str(group.stage.number),
        "recipe": group.recipe.to_json(),
        "blocks": " ".join(map(str, group.blocks)),
        "blocks at once": str(group.at_once),
    }
