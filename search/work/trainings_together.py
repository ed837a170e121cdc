"""Several networks trained together as one unit of work: the kind "train-together".

    together = together_unit(units)                       # of units of kind "train" that differ in their network alone
    done = run_units([together], results, runner)
    keep_each(together, units, results)                   # now each of them is done

Its config is that of the trainings, with `architectures` in place of `architecture`, and its content holds the content of each
under `networks`. Each is then the result of its own unit, too: what `search.training.together` computes is what a training alone
computes, to rounding, and so far results differ between machines as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.work.kinds import Content, Context, find_kind
from search.work.results import Results
from search.work.trainings import check_images, check_keys, space_of
from search.work.unit import Unit
from space import Architecture, ArchitectureError
from space.errors import ConfigError

KIND = "train-together"
_KEYS = ("space", "architectures", "task", "task_sha256", "recipe")


def together_unit(units: Sequence[Unit]) -> Unit:
    """Return the unit that trains the networks of some units at once.

    Raises:
        ConfigError: they are not trainings from scratch that differ in their network alone.
    """
    shared = [{key: value for key, value in unit.config.items() if key != "architecture"} for unit in units]
    if any(unit.kind != "train" or unit.inputs for unit in units) or any(one != shared[0] for one in shared):
        raise ConfigError("only trainings from scratch of one space, task and recipe can be done together")
    return Unit(
        kind=KIND, config={**shared[0], "architectures": [unit.config["architecture"] for unit in units]}
    )


def keep_each(together: Unit, units: Sequence[Unit], results: Results) -> None:
    """Record each network of a finished unit as the result of its own unit."""
    digest = results.result_of(together)
    if digest is None:
        raise ConfigError(f"{together} is not done")
    record = results.record_of(together)
    found = results.get(digest)["networks"]
    for unit, content in zip(units, found, strict=True):
        one = results.add(content, find_kind(unit.kind).seals)
        results.record(unit, one, record["seconds"] / len(units), record["host"])


def run_together(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Train the networks of a config and return the `trained_content` of each under `networks`.

    Raises:
        ConfigError: the config cannot be used, or the task has other images than those of the config.
    """
    from search.training.recipe import Recipe
    from search.training.tasks import load_task
    from search.training.together import train_together
    from search.training.trained_files import trained_content

    check_keys(config, inputs, _KEYS, ())
    space = space_of(config["space"])
    try:
        architectures = [Architecture.parse(text, space) for text in config["architectures"]]
    except ArchitectureError as e:
        raise ConfigError(f"unit: architectures: {e}") from e
    task = load_task(config["task"], space)
    check_images(config, task.images_digest)
    recipe = Recipe.from_plain(config["recipe"])
    trained = train_together(
        architectures, task, recipe, context.scratch, context.device, on_epoch=context.on_progress
    )
    return {"networks": [trained_content(one) for one in trained]}
