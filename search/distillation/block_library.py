"""Block libraries: for each stage of a teacher, blocks distilled to replace the teacher's own.

    library = load_library(Path("library"))
    weights = library.assemble(Architecture.parse("conv-conv+in/bconv", TINY))     # a state dict; nothing is trained

A library is a folder: `teacher.harness`, the trained network, and `stage-0.harness` and so on, each whole or not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from search.distillation.packing import pack, unpack
from search.distillation.recipe import DistilRecipe
from search.training.sealed import content_digest, read_sealed, write_sealed
from search.training.sealed_head import TEACHER, check_library
from search.training.trained import Trained, trained_digest
from search.training.trained_files import load_trained
from space import Architecture, Block, SpaceConfig
from space.definition import check_code
from space.errors import ConfigError
from space.indexing import FloatArray
from space.stages import SpaceStage
from space.text import counted

KIND = "distilled stage"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageLibrary:
    """Blocks of one stage, distilled from a teacher.

    `teacher` is its `trained_digest`; `task` names the images and `source` where they are from. `weights` holds a state dict
    of `space.networks.build_stage` for each of `blocks`. `history` holds the mean loss of each block in each epoch, shape
    (epochs, blocks); `mse` and `nsr`, (blocks,), are of the last epoch, on images for profiling. `seconds` is the time of the
    distillation, features included.
    """

    config: SpaceConfig
    teacher: str
    task: str
    source: str
    stage: int
    recipe: DistilRecipe
    blocks: tuple[Block, ...]
    weights: tuple[Mapping[str, Tensor], ...] = field(repr=False)
    history: FloatArray = field(repr=False)
    mse: FloatArray = field(repr=False)
    nsr: FloatArray = field(repr=False)
    seconds: float
    environment: Mapping[str, str]

    @property
    def place(self) -> SpaceStage:
        """The stage of the space."""
        return SpaceStage(self.config, self.stage)

    def of(self, block: Block) -> Mapping[str, Tensor]:
        """Return the weights of a block.

        Raises:
            ConfigError: it was not distilled.
        """
        if block not in self.blocks:
            raise ConfigError(
                f"stage {self.stage} of the library has no block {block}: {len(self.blocks)} of "
                f"{len(self.place.blocks)} were distilled; distill the stage with it"
            )
        return self.weights[self.blocks.index(block)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockLibrary:
    """A teacher and the blocks distilled from it; a stage that was not distilled yet is None.

    Raises:
        ConfigError: a stage is of another teacher or space, or in another place, or the code of the space has changed.
    """

    teacher: Trained
    stages: tuple[StageLibrary | None, ...]

    def __post_init__(self) -> None:
        config, digest = self.teacher.architecture.config, trained_digest(self.teacher)
        check_code(config)
        if len(self.stages) != config.stages:
            raise ConfigError(
                f"library: {counted(len(self.stages), 'stage')}; space {config.name!r} has {config.stages}"
            )
        for place, one in enumerate(self.stages):
            if one is None:
                continue
            for what, found, wanted in (
                ("space", one.config.name, config.name),
                ("description of the space", one.config, config),
                ("stage", one.stage, place),
                ("teacher", one.teacher[:16], digest[:16]),
            ):
                if found != wanted:
                    raise ConfigError(
                        f"library: stage {place} is of {what} {found}, the teacher's is {wanted}; distill it again from this "
                        "teacher"
                    )

    @property
    def config(self) -> SpaceConfig:
        """The space of the teacher and of all blocks."""
        return self.teacher.architecture.config

    @property
    def missing(self) -> tuple[int, ...]:
        """The stages that were not distilled."""
        return tuple(place for place, one in enumerate(self.stages) if one is None)

    @property
    def form(self) -> str:
        """Description of the distilling of its stages, in words."""
        return "; ".join(dict.fromkeys(one.recipe.form for one in self.stages if one is not None))

    @property
    def digest(self) -> str:
        """The content digest of all stages and the teacher, 64 hexadecimal characters; times and machines are left out."""
        kept = ("blocks", "weights", "recipe")
        contents = [one and stage_content(one) for one in self.stages]
        return content_digest(
            {
                "teacher": trained_digest(self.teacher),
                "stages": [one and {name: one[name] for name in kept} for one in contents],
            }
        )

    def stage(self, place: int) -> StageLibrary:
        """Return a stage's blocks.

        Raises:
            ConfigError: it was not distilled.
        """
        found = self.stages[place]
        if found is None:
            raise ConfigError(f"library: stage {place} was not distilled; run 'harness distill' for it first")
        return found

    def assemble(self, architecture: Architecture) -> dict[str, Tensor]:
        """Return a state dict of `space.networks.build_network`: the teacher's stem and head, the library's blocks.

        Raises:
            ConfigError: the network is of another space, or one of its blocks was not distilled.
        """
        if architecture.config != self.config:
            raise ConfigError(
                f"network {architecture} is of space {architecture.config.name!r}, the library of {self.config.name!r}"
            )
        state = {
            name: tensor
            for name, tensor in self.teacher.weights.items()
            if name.startswith(("stem.", "head."))
        }
        for place, block in enumerate(architecture.blocks):
            stage = self.stage(place)
            state |= {stage.place.prefix + name: tensor for name, tensor in stage.of(block).items()}
        order = self.teacher.weights  # stem first, head last, as the network's own state dict has it
        head = {name: state.pop(name) for name in order if name.startswith("head.")}
        return state | head


def stage_content(library: StageLibrary) -> dict[str, Any]:
    """Return a stage as tensors, numbers and texts: what `search.training.sealed` writes, or a worker sends."""
    return {
        "space": library.config.name,
        "space_config": library.config.to_plain(),
        "teacher": library.teacher,
        "task": library.task,
        "source": library.source,
        "stage": library.stage,
        "recipe": library.recipe.to_json(),
        "blocks": [str(block) for block in library.blocks],
        "weights": [
            pack(state, block, library.place)
            for block, state in zip(library.blocks, library.weights, strict=True)
        ],
        "history": library.history.tolist(),
        "mse": library.mse.tolist(),
        "nsr": library.nsr.tolist(),
        "seconds": library.seconds,
        "environment": dict(library.environment),
    }


def stage_from(content: Mapping[str, Any], name: str = "distilled stage") -> StageLibrary:
    """Return the stage of `stage_content`; `name` is for messages.

    Raises:
        ConfigError: something is missing or of another type, or weights are not their block's.
    """
    try:
        config = SpaceConfig(**content["space_config"])
        place = SpaceStage(config, int(content["stage"]))
        blocks = tuple(_block(text, place) for text in content["blocks"])
        weights = [
            unpack(packed, block, place) for block, packed in zip(blocks, content["weights"], strict=True)
        ]
        found = StageLibrary(
            config=config,
            teacher=str(content["teacher"]),
            task=str(content["task"]),
            source=str(content["source"]),
            stage=place.number,
            recipe=DistilRecipe.from_json(content["recipe"]),
            blocks=blocks,
            weights=tuple(weights),
            history=np.array(content["history"], dtype=np.float64),
            mse=np.array(content["mse"], dtype=np.float64),
            nsr=np.array(content["nsr"], dtype=np.float64),
            seconds=float(content["seconds"]),
            environment=dict(content["environment"]),
        )
        if not blocks or not len(found.mse) == len(found.nsr) == len(blocks):
            raise ValueError(f"{len(blocks)} blocks have {len(found.mse)} and {len(found.nsr)} losses")
    except KeyError as e:
        raise ConfigError(f"{name}: has no {e}, as a distilled stage does; distill it again") from e
    except (TypeError, ValueError, AttributeError, ConfigError) as e:
        raise ConfigError(f"{name}: is no distilled stage of this version: {e}; distill it again") from e
    return found


def save_stage(folder: Path, library: StageLibrary) -> Path:
    """Write a stage in place of a former one, and return its file.

    Raises:
        ConfigError: the file cannot be written, such as on a full disk.
    """
    path = folder / f"stage-{library.stage}.harness"
    write_sealed(path, KIND, stage_content(library))
    return path


def load_library(folder: str | Path) -> BlockLibrary:
    """Read a library; stages that have no file are None.

    Raises:
        ConfigError: it is no library's folder, a file is damaged, or a stage is of another teacher.
    """
    folder = Path(folder)
    check_library(folder)
    teacher = load_trained(folder / TEACHER)
    stages = []
    for place in range(teacher.architecture.config.stages):
        path = folder / f"stage-{place}.harness"
        stages.append(stage_from(read_sealed(path, KIND), str(path)) if path.exists() else None)
    try:
        return BlockLibrary(teacher=teacher, stages=tuple(stages))
    except ConfigError as e:
        raise ConfigError(f"{folder}: {e}") from e


def _block(text: str, stage: SpaceStage) -> Block:
    by_text = {str(block): block for block in stage.blocks}
    if text not in by_text:
        raise ValueError(f"stage {stage.number} of space {stage.config.name!r} has no block {text!r}")
    return by_text[text]
