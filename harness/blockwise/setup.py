"""Build and validate the setting of a blockwise search from a request, a block library and the store."""

from __future__ import annotations

from collections.abc import Callable

from harness.blockwise.costs import space_costs
from harness.blockwise.fronts import check_fronts
from harness.blockwise.request import BlockwiseRequest
from harness.prediction.provenance import Provenance
from harness.query.query import check_intervals
from harness.store import Store
from search.blockwise.choice import check_feasible
from search.blockwise.defaults import FINALISTS, FIT_NETWORKS, POOL
from search.blockwise.predictor_kinds import FINE_TUNED, LANA
from search.blockwise.predictors import check_count
from search.blockwise.search import SearchPlan
from search.blockwise.setting import Setting, fine_tune_recipe, known_accuracies
from search.distillation.block_library import BlockLibrary
from search.training.distillation_loss import Guide
from search.training.tasks import load_task_of
from search.work.results import ResultStore
from search.work.unit_runs import RunUnits
from space import SpaceConfig
from space.errors import ConfigError


def prepare(
    request: BlockwiseRequest,
    library: BlockLibrary,
    store: Store,
    run: RunUnits,
    log: Callable[[str], None],
) -> tuple[Setting, dict[str, Provenance], tuple[str, ...]]:
    """Return the setting of all rounds, the provenance of each latency by name, and the costs that have fronts.

    Raises: ConfigError when something does not fit, or no network at all is within the limits.
    """
    config = library.config
    _check_space(request, config)
    query = request.query.with_devices(store)
    check_fronts(config, request.pareto, request.predictor_name)
    fronts = dict.fromkeys(one for name in request.pareto for one in request.query.meant(store, name))
    fit_networks = 0
    if request.fit_kind == FINE_TUNED:
        fit_networks = FIT_NETWORKS if request.fit_networks is None else request.fit_networks
        check_count(request.predictor_name, config, fit_networks)
    as_sums = request.predictor_name == LANA  # published with an integer program
    costs, provenance = space_costs(store, config, query.costs, query.latencies, log, as_sums=as_sums)
    if query.confident and costs.is_listed:
        check_intervals(query, costs.listed, provenance)
    count = request.finalists or (POOL if as_sums else FINALISTS)
    plan = SearchPlan(finalists=count, fine_tune=request.fine_tune, distance=request.distance)
    check_feasible(query.constraints, config, costs, plan, confident=query.confident)
    guide, task = Guide(library.teacher), load_task_of(library.teacher, log)
    setting = Setting(
        task=task,
        costs=costs,
        constraints=query.constraints,
        confident=query.confident,
        plan=plan,
        predictor=request.predictor_name,
        columns=request.columns,
        known=None if request.trained is None else known_accuracies(request.trained, library, task),
        fit_networks=fit_networks,
        recipe=fine_tune_recipe(
            request.fine_tune_recipe, library, epochs=request.fine_tune_epochs, seed=request.seed
        ),
        guide={"weight": guide.weight, "temperature": guide.temperature},
        seed=request.seed,
        device=request.device,
        results=ResultStore(folder=request.results or request.library / "results"),
        run=run,
        log=log,
    )
    return setting, provenance, tuple(fronts)


def _check_space(request: BlockwiseRequest, config: SpaceConfig) -> None:
    """Refuse a space other than the library's. Raises: ConfigError."""
    asked = request.query.latencies.choice.space
    if asked not in ("", config.name, config.name.partition("@")[0]):
        raise ConfigError(
            f"--library {request.library}: is of space {config.name!r}, and --space names {asked!r}; distill a library of that "
            "space, or leave --space out"
        )
