"""Trainings as units of work: the kinds "train", and "train-together" for several networks at once.

    unit = training_unit(architecture, task, Recipe(epochs=20))

Its config has `space` (the name of a known one, or its fields), `architecture`, `task` (the source that `load_task` reads),
`task_sha256` (of the images; may be left out, and then they are not checked) and `recipe` (JSON). It has no inputs.

    together = together_unit(units)                       # of units of kind "train" that differ in their network alone
    done = run_units([together], results, runner)
    keep_each(together, units, results)                   # now each of them is done

Its config is that of the trainings, with `architectures` in place of `architecture`, and its content holds the content of each
under `networks`. Each is then the result of its own unit, too: `search.training.batched_training` computes the result of a
training alone up to rounding, by which results differ between machines as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from search.checked import fields_of
from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.work.kinds import Content, Context, find_kind
from search.work.unit import Unit
from space import SPACES, Architecture, ArchitectureError, SpaceConfig, find_space
from space.errors import ConfigError

if TYPE_CHECKING:
    from search.training.images import Task
    from search.work.results import ResultStore

TOGETHER = "train-together"
TRAINING_KEYS = ("space", "architecture", "task", "task_sha256", "recipe")
_TOGETHER_KEYS = ("space", "architectures", "task", "task_sha256", "recipe")


def training_unit(architecture: Architecture, task: Task, recipe: Recipe) -> Unit:
    """Return the unit of a training from scratch."""
    config = {
        "space": plain_space(architecture.config),
        "architecture": str(architecture),
        "task": task.source,
        "task_sha256": task.images_digest,
        "recipe": recipe.to_plain(),
    }
    return Unit(kind="train", config=config)


def run_training(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Train the network of a config and return its `trained_content`.

    Raises:
        ConfigError: the config or an input cannot be used, or the task has other images than those of the config.
    """
    from search.training.trained_files import trained_content
    from search.training.training import train

    check_keys(config, inputs, TRAINING_KEYS, ())
    architecture = architecture_of(config)
    task = task_of(config, architecture.config)
    recipe = Recipe.from_plain(config["recipe"])
    trained = train(architecture, task, recipe, context.scratch, context.device, on_epoch=context.on_progress)
    return trained_content(trained)


def guide_fields(given: Mapping[str, Any]) -> dict[str, float]:
    """Return all fields of a guide but its teacher, by name, with defaults for missing ones.

    Raises:
        ConfigError: there is no such field, or a value is out of its range.
    """
    from search.training.distillation_loss import Guide

    found: dict[str, Any] = {item.name: item.default for item in fields(Guide) if item.name != "teacher"}
    for name, value in given.items():
        if name not in found:
            raise ConfigError(f"guide: {name} = {value!r}; give numbers for {' and '.join(found)}")
        try:
            found[name] = fields_of(Guide)[name].checked(value)  # as a float: 1 and 1.0 are one key
        except ValueError as e:
            raise ConfigError(f"guide: {name} = {value!r}; {e}") from None
    return found


# --- several at once -------------------------------------------------------------------------------


def together_unit(units: Sequence[Unit]) -> Unit:
    """Return the unit that trains the networks of some units at once.

    Raises:
        ConfigError: they are not trainings from scratch that differ in their network alone.
    """
    shared = [{key: value for key, value in unit.config.items() if key != "architecture"} for unit in units]
    if any(unit.kind != "train" or unit.inputs for unit in units) or any(one != shared[0] for one in shared):
        raise ConfigError("only trainings from scratch of one space, task and recipe can be done together")
    return Unit(
        kind=TOGETHER, config={**shared[0], "architectures": [unit.config["architecture"] for unit in units]}
    )


def keep_each(together: Unit, units: Sequence[Unit], results: ResultStore) -> None:
    """Record each network of a finished unit as the result of its own unit."""
    result = results.finished(together)
    if result is None:
        raise ConfigError(f"{together} is not done")
    record = results.record_of(together) or {}
    for unit, content in zip(units, result[1]["networks"], strict=True):
        one = results.add(content, find_kind(unit.kind).seals)
        results.record(unit, one, record["seconds"] / len(units), record["host"])


def run_together(config: Mapping[str, Any], inputs: Mapping[str, Content], context: Context) -> Content:
    """Train the networks of a config and return the `trained_content` of each under `networks`.

    Raises:
        ConfigError: the config cannot be used, or the task has other images than those of the config.
    """
    from search.training.batched_training import train_together
    from search.training.trained_files import trained_content

    check_keys(config, inputs, _TOGETHER_KEYS, ())
    space = space_from_plain(config["space"])
    try:
        architectures = [Architecture.parse(text, space) for text in config["architectures"]]
    except ArchitectureError as e:
        raise ConfigError(f"unit: architectures: {e}") from e
    task = task_of(config, space)
    recipe = Recipe.from_plain(config["recipe"])
    trained = train_together(
        architectures, task, recipe, context.scratch, context.device, on_epoch=context.on_progress
    )
    return {"networks": [trained_content(one) for one in trained]}


# --- fields of the configs of units ---------------------------------------------------------------


def plain_space(config: SpaceConfig) -> str | dict[str, Any]:
    """Return a space as a unit's config holds it: its name where it is a known one, else its fields."""
    if SPACES.get(config.name) == config:
        return config.name
    return config.to_plain()


def space_from_plain(value: object) -> SpaceConfig:
    """Return the space that a unit's config names.

    Raises:
        ConfigError: it is none.
    """
    try:
        if isinstance(value, str):
            return find_space(value)
        if isinstance(value, Mapping):
            return SpaceConfig(**value)
    except (ArchitectureError, TypeError) as e:
        raise ConfigError(f"unit: space {value!r} cannot be used: {e}") from e
    raise ConfigError(f"unit: space {value!r} is {type(value).__name__}; give a name or a space's fields")


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a unit's config names.

    Raises:
        ConfigError: there is none, or it is not of the config's space.
    """
    try:
        return Architecture.parse(config["architecture"], space_from_plain(config["space"]))
    except ArchitectureError as e:
        raise ConfigError(f"unit: architecture {config['architecture']!r}: {e}") from e


def task_of(config: Mapping[str, Any], space: SpaceConfig) -> Task:
    """Return the task that a unit's config names.

    Raises:
        ConfigError: there is none, or its images are not, one by one, those of the config.
    """
    task = load_task(config["task"], space)
    found = task.images_digest
    wanted = config.get("task_sha256", found)
    if wanted != found:
        raise ConfigError(
            f"task {config['task']!r} has images of SHA-256 {found} here, and the unit is of those of {wanted}; "
            "bring the same files here, or make the unit again for these"
        )
    return task


def check_keys(
    config: Mapping[str, Any],
    inputs: Mapping[str, Any],
    known: tuple[str, ...],
    known_inputs: tuple[str, ...],
) -> None:
    """Refuse unknown keys of a config and unknown inputs.

    Raises:
        ConfigError: there is one, or a key is missing.
    """
    optional = ("task_sha256", "guide")
    for what, found, names in (("config", config, known), ("inputs", inputs, known_inputs)):
        for key in found:
            if key not in names:
                raise ConfigError(f"unit: the {what} has no {key!r}; there are {', '.join(names) or 'none'}")
    for key in known:
        if key not in config and key not in optional:
            raise ConfigError(f"unit: the config has no {key!r}; a unit's needs it")
