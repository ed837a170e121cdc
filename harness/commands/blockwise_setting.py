"""From the command line, a library and the store to the setting of a blockwise search; whatever does not fit is refused here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.blockwise_choice import check_limits
from harness.commands.blockwise_costs import SpaceCosts, costs_of
from harness.commands.blockwise_options import Blockwise
from harness.commands.blockwise_work import Setting, known_accuracies
from harness.commands.summed_costs import SummedCosts, summed_costs
from harness.query.query import Query, check_intervals
from space.errors import ConfigError

if TYPE_CHECKING:
    from search.blockwise.library import BlockLibrary
    from search.training.recipe import Recipe


def load_whole_library(folder: Path) -> BlockLibrary:
    """Return a library of which every stage was distilled.

    Raises: ConfigError naming the stages that are missing, and the command that distils them.
    """
    from search.blockwise.library import TEACHER, load_library

    library = load_library(folder)
    if library.missing:
        stages = ", ".join(map(str, library.missing))
        raise ConfigError(
            f"--library {folder}: of {library.config.stages} stages, {stages} {'is' if len(library.missing) == 1 else 'are'} not "
            f"distilled; run: harness distill {folder / TEACHER} --output {folder}"
        )
    return library


FINE_TUNE_RATE = (
    0.2  # of the teacher's: at the whole rate the first epoch undoes what the blocks have learned
)


def prepare(
    query: Query,
    library: BlockLibrary,
    own: Blockwise,
    folder: Path,
    seed: int,
    store_url: str,
    say: Callable[[str], None],
) -> Setting:
    """Return the setting of all rounds; whether any network is within the limits is known here, before the first one.

    Raises: ConfigError when something does not fit, or no network does.
    """
    from harness.commands.options import open_store
    from search.blockwise.searching import Plan
    from search.training.guide import Guide
    from search.training.tasks import load_task
    from search.work.results import Results
    from space import is_enumerable

    config = library.config
    store = open_store(store_url)
    costs: SpaceCosts | SummedCosts
    try:
        if is_enumerable(config):
            costs = costs_of(store, config, query.costs, query.latencies, say)
        else:
            costs = summed_costs(store, config, query.costs, query.latencies, say)
    finally:
        store.close()
    if query.confident and isinstance(costs, SpaceCosts):
        check_intervals(query, costs.costs, costs.behind)
    plan = Plan(finalists=own.finalists, fine_tune=own.fine_tune, distance=own.distance)
    check_limits(query.constraints, config, costs, plan, confident=query.confident)
    known = None if own.trained is None else known_accuracies(own.trained, library)
    guide = Guide(library.teacher)
    return Setting(
        task=load_task(library.teacher.source, config),
        costs=costs,
        constraints=query.constraints,
        confident=query.confident,
        plan=plan,
        predictor=own.predictor or ("sum" if known is None else "linear"),
        columns=tuple(own.signature) if own.signature else None,
        known=known,
        recipe=fine_tune_recipe(own, seed, library),
        guide={"weight": guide.weight, "temperature": guide.temperature},
        seed=seed,
        device=own.accelerator,
        results=Results(folder=own.results or folder / "results"),
        runner=own.workers.runner(),
        say=say,
    )


def fine_tune_recipe(own: Blockwise, seed: int, library: BlockLibrary) -> Recipe:
    """Return the recipe of fine-tuning: a file's, or the teacher's with other epochs, another seed and a lower rate.

    Raises: ConfigError when the file cannot be used.
    """
    from search.training.recipe import Recipe

    path = own.fine_tune_recipe
    if path is None:
        own_recipe = library.teacher.recipe
        rate = own_recipe.learning_rate * FINE_TUNE_RATE
        return replace(own_recipe, epochs=own.fine_tune_epochs, seed=seed, learning_rate=rate)
    try:
        return Recipe.from_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--fine-tune-recipe {path}: cannot be read: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"--fine-tune-recipe {path}: {error}") from error
