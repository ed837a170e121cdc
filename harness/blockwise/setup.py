"""Build and validate the setting of a blockwise search from a request, a block library and the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.blockwise.costs import space_costs
from harness.blockwise.folder import check_output
from harness.prediction.provenance import Provenance
from harness.query.query import Query, check_intervals
from harness.store import Store
from search.blockwise.choice import check_feasible
from search.blockwise.predictors import LINEAR, PREDICTORS, SUM
from search.blockwise.search import SearchPlan
from search.blockwise.setting import Setting, fine_tune_recipe, known_accuracies
from search.distillation.block_library import BlockLibrary
from search.distillation.signatures import COLUMNS
from search.training.distillation_loss import Guide
from search.training.tasks import load_task_of
from search.work.results import Results
from search.work.unit_runs import RunUnits
from space import is_enumerable
from space.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockwiseRequest:
    """Request of a blockwise search: `library` is a folder of distilled blocks, `query` holds devices and limits.

    `predictor`: "" is linear where `trained`, a folder of trainings, gives accuracies, else sum. `columns`: signatures that it
    reads, None for its default ones. `finalists`, `distance`, `fine_tune`: as in `SearchPlan`. `results` keeps
    finished trainings, in the library's folder where it is None. `device`: where to train, as torch names it. `verify`: how many
    of the finished networks to measure, on the devices of the query's file; `wait_s`: for how long one in use is waited for.
    `output`: the folder for the trained network. `command`: the command line that asked for the search, written into the answer.

    Raises: ConfigError for values that are unknown or contradict each other.
    """

    query: Query
    library: Path
    predictor: str = ""
    columns: tuple[str, ...] | None = None
    trained: Path | None = None
    finalists: int = 20
    distance: int = 2
    fine_tune: int = 3
    fine_tune_epochs: int = 10
    fine_tune_recipe: Path | None = None
    rounds: int = 1
    max_flops: float | None = None
    results: Path | None = None
    device: str = "cpu"
    seed: int = 0
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
        columns = self.columns or ()
        for name in columns:
            if name not in COLUMNS:
                raise ConfigError(
                    f"--signature {name!r} is unknown{did_you_mean(name, COLUMNS)} (known: {', '.join(COLUMNS)})"
                )
        if len(set(columns)) < len(columns) or (self.predictor_name == SUM and len(columns) > 1):
            raise ConfigError(
                f"--signature {', '.join(columns)}: name each once, and one alone for --predictor {SUM}"
            )
        if self.predictor_name != SUM and self.trained is None:
            raise ConfigError(
                f"--predictor {self.predictor} is fitted to accuracies: name some with --trained, or take --predictor sum"
            )
        if self.fine_tune == 0 and (self.rounds > 1 or self.max_flops is not None):
            raise ConfigError(
                "--rounds: the next teacher is a network that was fine-tuned; give --fine-tune 1 or more"
            )

    @property
    def predictor_name(self) -> str:
        """The predictor, by default linear where accuracies are given, else the sum."""
        return self.predictor or (SUM if self.trained is None else LINEAR)


def prepare(
    request: BlockwiseRequest,
    library: BlockLibrary,
    store: Store,
    run: RunUnits,
    log: Callable[[str], None],
) -> tuple[Setting, dict[str, Provenance]]:
    """Return the setting of all rounds and the provenance of each latency by name.

    Raises: ConfigError when something does not fit, or no network at all is within the limits.
    """
    query, config = request.query.with_devices(store), library.config
    costs, provenance = space_costs(store, config, query.costs, query.latencies, log)
    if query.confident and is_enumerable(config):
        check_intervals(query, costs.listed, provenance)
    plan = SearchPlan(finalists=request.finalists, fine_tune=request.fine_tune, distance=request.distance)
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
        recipe=fine_tune_recipe(
            request.fine_tune_recipe, library, epochs=request.fine_tune_epochs, seed=request.seed
        ),
        guide={"weight": guide.weight, "temperature": guide.temperature},
        seed=request.seed,
        device=request.device,
        results=Results(folder=request.results or request.library / "results"),
        run=run,
        log=log,
    )
    return setting, provenance
