"""The teacher that a user names: a trained network's file, a training's folder, or a folder of `harness train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from space.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from search.training.trained import Trained


def load_teacher(path: Path, network: str = "") -> Trained:
    """Return a trained network; of a folder of `harness train` the one named, or that of the highest validation accuracy.

    Raises: ConfigError when there is none, or `network` does not name what is there.
    """
    from search.training.trained_files import load_trained
    from space import Architecture, ArchitectureError

    if not (path / "units").is_dir():
        found = load_trained(path)
        if network:
            try:
                wanted = Architecture.parse(network, found.architecture.config)
            except ArchitectureError as error:
                raise ConfigError(f"--network: {error}") from error
            if wanted != found.architecture:
                raise ConfigError(f"--network {network}: {path} holds {found.architecture}; leave it out")
        return found
    every = _all_of(path)
    if not every:
        raise ConfigError(f"{path}: no training has finished there; run 'harness train' to its end")
    if not network:
        return max(every, key=lambda one: (one.best.val.first, -one.best.val.loss))
    named = [one for one in every if str(one.architecture) == network.strip()]
    if not named:
        names = sorted({str(one.architecture) for one in every})
        raise ConfigError(f"--network {network!r} was not trained in {path}{did_you_mean(network, names)}")
    if len(named) > 1:
        seeds = ", ".join(str(one.recipe.seed) for one in named)
        raise ConfigError(
            f"--network {network!r} was trained with seeds {seeds} in {path}; give its own folder"
        )
    return named[0]


def _all_of(folder: Path) -> list[Trained]:
    from harness.commands.trained_networks import stored_units
    from search.training.trained_files import trained_from
    from search.work.results import Results

    results = Results(folder=folder)
    found = []
    for unit in stored_units(results):
        if digest := results.result_of(unit):
            found.append(trained_from(results.get(digest), str(results.path_of(digest))))
    return found
