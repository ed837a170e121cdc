"""Distill the blocks of one stage from a teacher, all of them together, to be read top to bottom.

    teacher = load_trained(Path("teacher.harness"))
    stage = distil_stage(teacher, load_task(teacher.source, TINY), 0, DistilRecipe(epochs=20))
    stage.nsr                               # (B,): how far each block is from answering as the teacher's stage does

Every candidate block learns alone to turn what the teacher's stage reads into what it answers (DNA, arXiv:1911.13053; DONNA,
arXiv:2012.08859; LANA, arXiv:2107.10624). The teacher runs once over the images; its features are shared by all blocks; and the
blocks are stacked into one module of grouped convolutions (`search.training.stacked_modules`), in which each has the gradients
that it would have alone. A block's initial weights depend on the recipe's seed, the stage and the block, not on which others
are trained. Shapes at the line ends are (batch, channels, height, width); N blocks are trained at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from search.distillation.block_library import StageLibrary
from search.distillation.checkpoints import DistilProgress
from search.distillation.losses import judge_stages, loaded_stages
from search.distillation.packing import layout_of, shapes_of
from search.distillation.recipe import DistilRecipe
from search.distillation.separate_weights import distil_seed, fresh_stage, train_separate
from search.distillation.teacher_features import MEMORY_BYTES, FeatureMaps, stage_of, teacher_features
from search.distillation.weight_sharing import train_shared
from search.training.history import EpochDone
from search.training.images import Task
from search.training.lone_images import check_lone_image
from search.training.trained import Trained, environment_of, trained_digest
from space import Block
from space.errors import ConfigError
from space.stages import SpaceStage

ACTIVATION_BYTES = 2 << 30  # about what the feature maps of all blocks trained at once may take
# What a block keeps for its gradients, at most: in Blox feature maps of its stage's width, by count of bconv's layers; of another
# module its largest maps, as often as convolutions, norms and activations follow one another in a block of three.
_MAPS, _PEAKS = 300, 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _StageWork:
    """Blocks of a stage to be distilled, `at_once` of them at a time."""

    teacher: Trained
    task: Task
    stage: SpaceStage
    recipe: DistilRecipe
    blocks: tuple[Block, ...]
    at_once: int
    device: str


def distil_stage(
    teacher: Trained,
    task: Task,
    stage: int,
    recipe: DistilRecipe,
    blocks: Sequence[Block] | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    together: int | None = None,
    memory_bytes: int = MEMORY_BYTES,
    on_epoch: Callable[[EpochDone], None] | None = None,
) -> StageLibrary:
    """Distill blocks of a stage, by default all, from the teacher's stage; evaluate them on the images for profiling.

    `folder` keeps what was reached after every epoch, from which the same call goes on; it is gone once all is done. `together`
    blocks are trained at once, by default as many as about 2 GiB of feature maps allow. Features of more than `memory_bytes` lie
    on disk. `on_epoch` is called after every epoch of a group of blocks.

    Raises:
        ConfigError: the space has no such stage or block, or one whose weights no library keeps, the task does not fit it, the
            batch leaves one image alone, or what the folder keeps is damaged or of another distillation.
        HarnessError: a loss is not finite, or memory ran out; the message names the block, or a batch that fits.
    """
    place = stage_of(teacher, task, stage)
    chosen = _chosen(place, blocks)
    for block in chosen:
        layout_of(block, place)  # refuses weights that no library keeps
    fresh = ((f"block {block} in stage {stage}", fresh_stage(recipe, place, block)) for block in chosen)
    check_lone_image(
        "distillation recipe", recipe.batch, len(task.train), place.config, place.input_shape, fresh
    )
    begin = time.perf_counter()
    work = _StageWork(
        teacher=teacher,
        task=task,
        stage=place,
        recipe=recipe,
        blocks=tuple(chosen),
        at_once=together or together_for(place, recipe.batch),
        device=device,
    )
    progress = DistilProgress(folder, _identity(work))
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        teacher_features(
            teacher,
            task,
            stage,
            views=recipe.views,
            augmentation=recipe.augmentation,
            seed=distil_seed(recipe, "views", stage),
            memory_bytes=memory_bytes,
            device=device,
        ) as learned,
        teacher_features(
            teacher, task, stage, "profile", memory_bytes=memory_bytes, device=device
        ) as held_out,
    ):
        _distil_groups(work, learned, held_out, progress, on_epoch or (lambda epoch: None))
    progress.remove()
    return _library_of(work, progress.done, time.perf_counter() - begin)


def together_for(stage: SpaceStage, batch: int) -> int:
    """Return the default number of blocks of a stage trained at once: as many as `ACTIVATION_BYTES` hold, at least 1."""
    return max(1, ACTIVATION_BYTES // (_kept_bytes(stage) * batch))


def _kept_bytes(stage: SpaceStage) -> int:
    """Return about how many bytes of feature maps the largest block of a stage keeps for the gradients of an image."""
    chain = stage.config.chain
    if chain is None:
        return 4 * _MAPS * math.prod(stage.input_shape)
    sites = [chain.sites[place] for place in stage.sites]
    return _PEAKS * max(sum(site.runs(block).traced.peak_bytes for site in sites) for block in stage.blocks)


def _distil_groups(
    work: _StageWork,
    learned: FeatureMaps,
    held_out: FeatureMaps,
    progress: DistilProgress,
    on_epoch: Callable[[EpochDone], None],
) -> None:
    """Distill the groups of blocks that are not finished yet, one after the other, into `progress`."""
    count, epochs = len(work.blocks), work.recipe.epochs
    for first in range(0, count, count if work.recipe.shared else work.at_once):
        if first in progress.done:
            continue
        group = work.blocks[first : first + (count if work.recipe.shared else work.at_once)]

        def report(number: int, first: int = first, blocks: int = len(group)) -> None:
            on_epoch(EpochDone(number=number, epochs=epochs, first=first, blocks=blocks, of=count))

        progress.finish(first, _distil_group(work, group, learned, held_out, progress, report))


def _distil_group(
    work: _StageWork,
    group: Sequence[Block],
    learned: FeatureMaps,
    held_out: FeatureMaps,
    progress: DistilProgress,
    on_epoch: Callable[[int], None],
) -> dict[str, Any]:
    """Train the blocks of a group and return their weights, history and held-out errors."""
    stage, recipe, at_once, device = work.stage, work.recipe, work.at_once, work.device
    if recipe.shared:
        weights, history = train_shared(stage, recipe, group, at_once, learned, device, progress, on_epoch)
    else:
        weights, history = train_separate(stage, recipe, group, learned, device, progress, on_epoch)
    own = work.teacher.architecture.blocks[stage.number]
    if recipe.keep_own and own in group:
        weights[group.index(own)] = _own_weights(work.teacher, own, stage)
    parts = [range(len(group))[first : first + at_once] for first in range(0, len(group), at_once)]
    judged = [
        judge_stages(
            loaded_stages([weights[i] for i in part], [group[i] for i in part], stage, device),
            held_out,
            recipe.batch,
            device,
        )
        for part in parts
    ]
    return {
        "weights": [{name: tensor.cpu() for name, tensor in state.items()} for state in weights],
        "history": history,
        "mse": [value for mse, _ in judged for value in mse.tolist()],
        "nsr": [value for _, nsr in judged for value in nsr.tolist()],
    }


def _own_weights(teacher: Trained, own: Block, stage: SpaceStage) -> dict[str, torch.Tensor]:
    """Return the weights of the teacher's own block of a stage."""
    return {name: teacher.weights[stage.prefix + name].clone() for name in shapes_of(own, stage)}


def _library_of(work: _StageWork, done: Mapping[int, Mapping[str, Any]], seconds: float) -> StageLibrary:
    """Return the distilled stage of all finished groups, by their first block's place."""
    results = [done[first] for first in sorted(done)]
    at_once = min(work.at_once, len(work.blocks))
    return StageLibrary(
        config=work.teacher.architecture.config,
        teacher=trained_digest(work.teacher),
        task=work.task.name,
        source=work.task.source,
        stage=work.stage.number,
        recipe=work.recipe,
        blocks=work.blocks,
        weights=tuple(state for one in results for state in one["weights"]),
        history=np.concatenate([np.array(one["history"], dtype=np.float64) for one in results], axis=1),
        mse=np.concatenate([np.array(one["mse"]) for one in results]),
        nsr=np.concatenate([np.array(one["nsr"]) for one in results]),
        seconds=seconds,
        environment=environment_of(torch.device(work.device)) | {"together": str(at_once)},
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


def _identity(work: _StageWork) -> dict[str, str]:
    return {
        "teacher": trained_digest(work.teacher),
        "task": f"{work.task.name}, images {work.task.images_digest}",
        "stage": str(work.stage.number),
        "recipe": work.recipe.to_json(),
        "blocks": " ".join(map(str, work.blocks)),
        "blocks at once": str(work.at_once),
    }
