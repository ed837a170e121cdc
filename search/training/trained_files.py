"""Trained networks as sealed files, weights with their provenance; and weights alone, for other tools.

save_trained(Path("teacher.harness"), trained)
load_trained(Path("teacher.harness"))     # or the folder of a training that has finished
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from search.training.checkpoints import read_checkpoint
from search.training.history import Epoch, Figures
from search.training.recipe import Recipe
from search.training.sealed import content_digest, read_sealed, write_sealed
from search.training.sealed_head import CHECKPOINT, TRAINED, check_trained
from search.training.trained import Trained, check_weights, plain_terms
from space import Architecture, SpaceConfig
from space.atomic_files import write_file
from space.errors import ConfigError
from space.state_notes import with_note
from space.text import counted

KIND = TRAINED
_TEXTS = ("space", "architecture", "task", "source", "recipe", "start")


def trained_content(trained: Trained) -> dict[str, Any]:
    """Return a trained network as tensors, numbers and texts: what `search.training.sealed` writes, or a worker sends.

    Its keys: `space` (the name), `space_config`, `architecture` and `recipe` (texts), `task`, `source`, `synthetic`,
    `start`, `guide`, `history` and `test` (figures as numbers), `weights`, `environment`.
    """
    terms = plain_terms(
        trained.architecture,
        trained.recipe,
        task=trained.task,
        source=trained.source,
        synthetic=trained.synthetic,
        start=trained.start,
        guide=trained.guide,
    )
    return {
        **terms,
        "history": [asdict(epoch) for epoch in trained.history],
        "test": asdict(trained.test),
        "weights": dict(trained.weights),
        "environment": dict(trained.environment),
    }


def trained_from(content: Mapping[str, Any], name: str = "trained network") -> Trained:
    """Return the trained network of `trained_content`; `name` is for messages.

    Raises:
        ConfigError: something is missing or of another type, or the weights are not the architecture's.
    """
    try:
        for key in _TEXTS:
            if not isinstance(content[key], str):
                raise TypeError(f"{key} is {type(content[key]).__name__}, not text")
        config = SpaceConfig(**content["space_config"])
        architecture = Architecture.parse(content["architecture"], config)
        if config.name != content["space"]:
            raise ValueError(f"space is {content['space']!r}, and {config.name!r} in its own description")
        trained = Trained(
            architecture=architecture,
            task=content["task"],
            synthetic=bool(content["synthetic"]),
            recipe=Recipe.from_json(content["recipe"]),
            history=tuple(Epoch.from_plain(values) for values in content["history"]),
            test=Figures(**content["test"]),
            weights=dict(content["weights"]),
            environment=dict(content["environment"]),
            source=content["source"],
            start=content["start"],
            guide=dict(content["guide"]),
        )
        if not trained.history:
            raise ValueError("its history is empty")
    except KeyError as e:
        raise ConfigError(f"{name}: has no {e}, as a trained network does; train it again") from e
    except (TypeError, ValueError, AttributeError, ConfigError) as e:
        raise ConfigError(f"{name}: is no trained network of this version: {e}; train it again") from e
    check_weights(trained.weights, architecture, name)
    return trained


def save_trained(path: str | Path, trained: Trained) -> None:
    """Write a trained network in place of a former file.

    Raises:
        ConfigError: the file cannot be written, such as on a full disk.
    """
    write_sealed(path, KIND, trained_content(trained))


def load_trained(path: str | Path) -> Trained:
    """Read a trained network from its file, or from the folder of a training that has finished.

    Raises:
        ConfigError: there is none, the file is damaged or of another kind, or the training has not finished.
    """
    path = Path(path)
    check_trained(path)
    if not path.is_dir():
        return trained_from(read_sealed(path, KIND), str(path))
    found = read_checkpoint(path)
    if found is None or found.test is None:
        done = 0 if found is None else len(found.history)
        raise ConfigError(
            f"{path / CHECKPOINT}: the training has not finished: {counted(done, 'epoch is', 'epochs are')} done; "
            "run it again to go on"
        )
    finished = {
        "history": found.history,
        "test": found.test,
        "weights": found.best,
        "environment": found.environment,
    }
    return trained_from({**found.terms, **finished}, str(path / CHECKPOINT))


def write_weights(
    path: Path,
    weights: Mapping[str, Tensor],
    architecture: Architecture,
    *,
    task: str = "",
) -> str:
    """Write a state dict as `torch.save` does, with a note of its network and task; return the content digest of the weights.

    `harness export --checkpoint` reads it, as any other tool does. A file that holds just that is left as it is.

    Raises:
        ConfigError: the file cannot be written.
    """
    buffer = io.BytesIO()
    state = {name: tensor.cpu() for name, tensor in weights.items()}
    torch.save(with_note(state, architecture, task), buffer)
    with contextlib.suppress(OSError):  # an unreadable file is written again
        if path.is_file() and path.read_bytes() == buffer.getvalue():
            return content_digest(state)
    write_file(path, buffer.getvalue())
    return content_digest(state)
