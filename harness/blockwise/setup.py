"""Build and validate the setting of a blockwise search from a request, a block library and the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.blockwise.costs import space_costs
from harness.blockwise.folder import check_output
from harness.blockwise.fronts import check_fronts
from harness.prediction.provenance import Provenance
from harness.query.query import Query, check_intervals
from harness.store import Store
from search.blockwise.choice import check_feasible
from search.blockwise.defaults import DISTANCE, FINALISTS, FINE_TUNE, FINE_TUNE_EPOCHS, FIT_NETWORKS, POOL
from search.blockwise.fit_networks import FINE_TUNED, FITS, SCRATCH
from search.blockwise.predictors import DONNA, LANA, LINEAR, PREDICTORS, SUM, check_count
from search.blockwise.search import SearchPlan
from search.blockwise.setting import Setting, fine_tune_recipe, known_accuracies
from search.distillation.block_library import BlockLibrary
from search.distillation.signatures import COLUMNS, TRAIN_LOSS_CHANGE
from search.training.distillation_loss import Guide
from search.training.tasks import load_task_of
from search.work.results import ResultStore
from search.work.unit_runs import RunUnits
from space import SpaceConfig
from space.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockwiseRequest:
    """Request of a blockwise search: `library` is a folder of distilled blocks, `query` holds devices and limits.

    `predictor`: "" is linear with `trained`, a folder of trainings, donna where `fit` is "fine-tuned", else sum. `columns`: the
    signatures that it reads, None for its default ones. `fit`: the networks that it is fitted to, those of `trained` ("scratch")
    or `fit_networks` (by default `FIT_NETWORKS`) fine-tuned from the library ("fine-tuned"); "" follows from the others.
    `pareto`: costs with a front over predicted accuracy each. `finalists`, `distance`, `fine_tune`: as in `SearchPlan`; None is
    `FINALISTS`, or LANA's number. `results`: the folder of finished trainings, by default in the library's. `device`: where to
    train, as torch names it. `seeds`: the number of searches, each but the first with blocks distilled by another seed
    (`search.blockwise.seeds`). `verify`: the number of finished networks to measure on the devices of the query's file; `wait_s`:
    the time to wait for a device in use. `output`: the folder for the trained network. `command`: the command line, which the
    answer repeats.

    Raises: ConfigError for values that are unknown or contradict each other.
    """

    query: Query
    library: Path
    predictor: str = ""
    columns: tuple[str, ...] | None = None
    trained: Path | None = None
    fit: str = ""
    fit_networks: int | None = None
    pareto: tuple[str, ...] = ()
    finalists: int | None = None
    distance: int = DISTANCE
    fine_tune: int = FINE_TUNE
    fine_tune_epochs: int = FINE_TUNE_EPOCHS
    fine_tune_recipe: Path | None = None
    rounds: int = 1
    max_flops: float | None = None
    results: Path | None = None
    device: str = "cpu"
    seed: int = 0
    seeds: int = 1
    verify: int | None = None
    wait_s: float = 0.0
    output: Path | None = None
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.output is not None:
            check_output(self.output)
        if self.predictor and self.predictor not in PREDICTORS:
            raise ConfigError(
                f"--predictor {self.predictor!r} is unknown{did_you_mean(self.predictor, PREDICTORS)} "
                f"(known: {', '.join(PREDICTORS)})"
            )
        self._check_columns()
        self._check_fit()
        if self.fine_tune == 0 and (self.rounds > 1 or self.max_flops is not None):
            raise ConfigError(
                "--rounds: the next teacher is a network that was fine-tuned; give --fine-tune 1 or more"
            )

    @property
    def predictor_name(self) -> str:
        """The predictor, by default linear where accuracies are given, DONNA's where networks are fine-tuned, else the sum."""
        return self.predictor or (
            LINEAR if self.trained is not None else DONNA if self.fit == FINE_TUNED else SUM
        )

    @property
    def fit_kind(self) -> str:
        """Kind of accuracies that the predictor is fitted to, one of `FITS`; "" for a sum that only ranks."""
        if self.fit or self.trained is not None:
            return self.fit or SCRATCH
        return FINE_TUNED if self.predictor_name == DONNA else ""

    def _check_columns(self) -> None:
        columns, kind = self.columns or (), PREDICTORS[self.predictor_name]
        for name in columns:
            if name not in COLUMNS:
                raise ConfigError(
                    f"--signature {name!r} is unknown{did_you_mean(name, COLUMNS)} (known: {', '.join(COLUMNS)})"
                )
        if kind.is_published and columns and columns != kind.columns:
            raise ConfigError(
                f"--signature {', '.join(columns)}: --predictor {self.predictor_name} is the published form, which reads "
                f"{kind.columns[0]} alone; take --predictor {SUM if kind.ranks else LINEAR} for others"
            )
        if len(set(columns)) < len(columns) or (kind.single and len(columns) > 1):
            raise ConfigError(
                f"--signature {', '.join(columns)}: name each once, and one alone for --predictor {self.predictor_name}"
            )

    def _check_fit(self) -> None:
        if self.fit and self.fit not in FITS:
            raise ConfigError(
                f"--fit {self.fit!r} is unknown{did_you_mean(self.fit, FITS)} (known: {', '.join(FITS)})"
            )
        if self.fit == SCRATCH and self.trained is None:
            raise ConfigError(
                f"--fit {SCRATCH} fits networks that 'harness train' trained: name their folder with --trained"
            )
        if self.fit == FINE_TUNED and self.trained is not None:
            raise ConfigError(
                f"--trained names networks trained from scratch, and --fit {FINE_TUNED} fine-tunes its own; leave one of them out"
            )
        if self.fit_networks is not None and self.fit_kind != FINE_TUNED:
            raise ConfigError(
                f"--fit-networks {self.fit_networks}: nothing is fine-tuned for the predictor; add --fit {FINE_TUNED}"
            )
        if self.pareto and self.predictor_name == LANA:
            raise ConfigError(
                f"--pareto {self.pareto[0]}: --predictor {LANA} solves an integer program for one limit; for fronts take "
                f"--predictor sum --signature {TRAIN_LOSS_CHANGE} --fit {FINE_TUNED}"
            )
        if self.pareto and not self.fit_kind:
            raise ConfigError(
                f"--pareto {self.pareto[0]}: --predictor {self.predictor_name} ranks networks and knows no accuracies; add --fit "
                f"{FINE_TUNED}, or --trained"
            )
        if not self.fit_kind and not PREDICTORS[self.predictor_name].ranks:
            raise ConfigError(
                f"--predictor {self.predictor} is fitted to accuracies: name some with --trained, fine-tune networks for it with "
                f"--fit {FINE_TUNED}, or take --predictor sum"
            )


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
