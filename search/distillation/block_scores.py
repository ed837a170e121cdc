"""Block profiling (no cryptography): compute the signatures, or scores, of every block on images that the teacher never saw.

    signatures = score_blocks(load_library(Path("library")), task)
    signatures.column("loss_change")        # (stages, B)

Each block in turn replaces the teacher's own (LANA, arXiv:2107.10624): the stage's input goes through the block and then through
the rest of the teacher, its tail. All blocks of a stage run stacked, and the tail takes their outputs as one large batch. Shapes
at the line ends are (batch, channels, height, width); N blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from search.distillation.block_library import BlockLibrary, StageLibrary
from search.distillation.distill import together_for
from search.distillation.losses import stacked_stages
from search.distillation.signatures import TRAIN_LOSS_CHANGE, Signatures
from search.distillation.teacher_features import StageTask, teacher_features, teacher_network
from search.training.images import Images, Task
from search.training.stacked_modules import AnyStages, SideBySide, repeated
from search.training.trained import trained_digest
from space import SpaceConfig
from space.costs import stage_costs
from space.errors import ConfigError
from space.indexing import FloatArray, available
from space.networks import Network
from space.text import counted

BATCH = 128  # images; N times as many in the tail


def score_blocks(library: BlockLibrary, task: Task, device: str = "cpu") -> Signatures:
    """Return the signatures of all blocks of a library; NaN for stages and blocks that were not distilled.

    Blocks and teacher are evaluated on the task's images for profiling.

    Raises:
        ConfigError: the task does not fit the space.
    """
    columns = _columns(library, task, device, "profile")
    images = f"{len(task.profile)} {task.profile_name}"
    return _signatures(library, task, {**columns, **block_sizes(library.config)}, images)


def score_on_training(library: BlockLibrary, task: Task, device: str = "cpu") -> Signatures:
    """Return the loss changes of all blocks on the task's training images, without augmentation, as LANA is published.

    Raises:
        ConfigError: the task does not fit the space.
    """
    columns = _columns(library, task, device, "train")
    changes = {TRAIN_LOSS_CHANGE: columns["loss_change"]} if columns else {}
    return _signatures(library, task, changes, f"{len(task.train)} training images")


def _columns(library: BlockLibrary, task: Task, device: str, part: str) -> dict[str, FloatArray]:
    """Return scores of the blocks on a part of the images, columns (stages, B), NaN where a block was not distilled."""
    config = library.config
    columns: dict[str, FloatArray] = {}
    for stage in filter(None, library.stages):
        rows = [config.blocks.index(block) for block in stage.blocks]
        stage_task = StageTask(library.teacher, task, stage.stage, device)
        scores = {"mse": stage.mse, "nsr": stage.nsr, **_scores_in_teacher(stage_task, stage, part)}
        for name, values in scores.items():
            table = columns.setdefault(name, np.full((config.stages, len(config.blocks)), np.nan))
            table[stage.stage, rows] = values
    return columns


def _signatures(
    library: BlockLibrary, task: Task, columns: Mapping[str, FloatArray], images: str
) -> Signatures:
    return Signatures(
        config=library.config,
        teacher=trained_digest(library.teacher),
        task=task.name,
        columns=columns,
        notes={
            "teacher": str(library.teacher.architecture),
            "images": f"{images} of {task.origin}",
            "library": library.digest,
        },
    )


def cached_signatures(
    library: BlockLibrary,
    task: Task,
    folder: Path,
    device: str,
    log: Callable[[str], None],
    columns: Sequence[str] = (),
) -> Signatures:
    """Return a library's signatures on a task's images for profiling, cached as a file in the folder.

    The loss change on training images is computed only where `columns` name it.
    Raises: ConfigError when the file cannot be written.
    """
    path = folder / f"signatures-{library.digest}.json"
    found = _cached(path, task, log)
    is_whole = found is not None and (TRAIN_LOSS_CHANGE in found.columns or TRAIN_LOSS_CHANGE not in columns)
    if found is not None and is_whole:
        return found
    made = [len(stage.blocks) for stage in library.stages if stage is not None]
    scored = f"{counted(len(made), 'stage')} of {counted(sum(made), 'block')}"
    if found is None:
        log(f"scoring {scored}")
        found = score_blocks(library, task, device=device)
    if TRAIN_LOSS_CHANGE in columns:
        log(f"scoring {scored} on {len(task.train)} training images")
        found = found.with_columns(score_on_training(library, task, device).columns)
    found.save(path)
    return found


def _cached(path: Path, task: Task, log: Callable[[str], None]) -> Signatures | None:
    """Return the signatures of a file; None where it is missing, unreadable or of another task."""
    if not path.is_file():
        return None
    try:
        found = Signatures.load(path)
    except ConfigError as error:
        log(f"{error}; scoring the blocks again")
        return None
    return found if found.task == task.name else None


def block_sizes(config: SpaceConfig) -> dict[str, FloatArray]:
    """Return `params` and `macs` of each block and the rest of its stage, (stages, B); NaN for blocks of other stages."""
    tables = {
        name: np.array([[getattr(cost, name) for cost in row] for row in stage_costs(config)])
        for name in ("params", "macs")
    }
    return {name: np.where(available(config), table, np.nan) for name, table in tables.items()}


@torch.no_grad()
def _scores_in_teacher(stage_task: StageTask, stage: StageLibrary, part: str) -> dict[str, FloatArray]:
    """Return `loss_change`, `accuracy_change` and `agreement` of a stage's blocks on a part of the images, (blocks,) each."""
    device = stage_task.device
    teacher = teacher_network(stage_task.teacher, device)
    tail: nn.Module = nn.Sequential(*teacher.stages[stage.stage + 1 :], teacher.head)
    if not isinstance(teacher, Network):
        tail = SideBySide([tail])  # reads a copy channels first, as in training
    images: Images = getattr(stage_task.task, part)
    labels = torch.tensor(images.labels)
    count = len(stage.blocks)
    at_once = min(count, together_for(stage.place, BATCH))
    totals = np.zeros((3, count))  # loss, right ones, those with the teacher's class
    own = np.zeros(2)  # the teacher's loss and right ones
    with teacher_features(stage_task, part) as features:
        blocks = stacked_stages(stage, device)
        for begin in range(0, len(features), BATCH):
            rows = slice(begin, begin + BATCH)
            targets, classes = features.targets[rows].to(device), labels[rows].to(device)
            said = tail(targets)  # (B, classes)
            own += _loss_and_hits(said[:, None], classes)[:, 0]
            logits = _through(blocks, features.inputs[rows].to(device), tail, at_once)  # (B, N, classes)
            totals[:2] += _loss_and_hits(logits, classes)
            totals[2] += (logits.argmax(2) == said.argmax(1)[:, None]).sum(0).cpu().numpy()
    loss, hits, same = totals / len(labels)
    return {
        "loss_change": loss - own[0] / len(labels),
        "accuracy_change": 100 * (hits - own[1] / len(labels)),
        "agreement": 100 * same,
    }


def _through(blocks: AnyStages, inputs: Tensor, tail: nn.Module, at_once: int) -> Tensor:
    """Return logits (B, N, classes) of inputs (B, C, H, W) through each of N blocks and the teacher's tail."""
    answers = blocks(repeated(inputs, blocks.members))  # (B, N*2C, H/2, W/2)
    last = answers.permute(0, 2, 3, 1)
    each = last.reshape(*last.shape[:3], blocks.members, -1).permute(3, 0, 4, 1, 2)  # (N, B, 2C, H/2, W/2)
    logits = [tail(some.flatten(0, 1)).view(len(some), len(inputs), -1) for some in each.split(at_once)]
    return torch.cat(logits).transpose(0, 1)


def _loss_and_hits(logits: Tensor, labels: Tensor) -> FloatArray:
    """Return the summed cross-entropy and the images classed right of N networks, (2, N), of logits (B, N, classes)."""
    loss = cross_entropy(
        logits.transpose(1, 2), labels[:, None].expand(-1, logits.shape[1]), reduction="none"
    )
    hits = (logits.argmax(2) == labels[:, None]).sum(0)
    found: FloatArray = torch.stack([loss.double().sum(0), hits.double()]).cpu().numpy()
    return found
