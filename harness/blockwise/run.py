"""Run a blockwise search: from a library of distilled blocks to a trained network within limits on devices."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.blockwise.answer import BlockwiseAnswer, blockwise_document, student_row
from harness.blockwise.costs import space_costs
from harness.blockwise.folder import searched_models, write_answer
from harness.blockwise.fronts import check_fronts, cost_fronts
from harness.blockwise.request import BlockwiseRequest
from harness.blockwise.verify import devices_to_verify, verify_students
from harness.dataframe import Tabular
from harness.devices.config import Device
from harness.measurement.campaign import Outcome
from harness.models.exported import ExportObserver, ModelFile
from harness.models.names import whole_number
from harness.prediction.measure import raise_first
from harness.prediction.provenance import Provenance
from harness.query.from_store import Limits, observed_by, query_of
from harness.query.query import check_intervals
from harness.store import Store
from harness.store.opening import check_store
from search.blockwise.choice import check_feasible
from search.blockwise.defaults import DISTANCE, FINALISTS, FINE_TUNE, FINE_TUNE_EPOCHS, FIT_NETWORKS, POOL
from search.blockwise.iterated_search import Budget, Iterated
from search.blockwise.predictor_kinds import FINE_TUNED, LANA
from search.blockwise.predictors import check_count
from search.blockwise.rounds import Searched, incumbent, search_again, search_round, search_seeds
from search.blockwise.search import SearchPlan
from search.blockwise.setting import Setting, fine_tune_recipe, known_accuracies, load_whole_library
from search.distillation.block_library import BlockLibrary
from search.training.distillation_loss import Guide
from search.training.tasks import load_task_of
from search.work.local_pool import LocalPool
from search.work.results import ResultStore
from search.work.unit_runs import Runner, RunUnits, Watch, logged, run_watched
from space import Architecture, SpaceConfig
from space.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class BlockwiseResult(Tabular):
    """The answer, its document in JSON's types, the outcomes of the campaigns that measured finished networks, and the models
    in the answer's folder, if any. As a table a row for each network that was fine-tuned.
    """

    answer: BlockwiseAnswer
    document: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    models: tuple[ModelFile, ...] = ()

    @property
    def best(self) -> Architecture:
        """The network found; `document["within_limits"]` says whether it is within the limits as measured."""
        return self.answer.student.architecture

    def to_records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """Return the networks that were fine-tuned, accuracies in percent before and after, and the columns."""
        rows = [student_row(one) for one in self.document["students"]]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return [{name: row.get(name) for name in columns} for row in rows], columns

    @property
    def exit_status(self) -> int:
        """The command's exit status: the campaigns' worst, else 1 where no measured network is within the limits."""
        status = max((outcome.exit_status for outcome in self.outcomes), default=0)
        return status or int(not self.answer.within)


def search_blocks(
    store: Store,
    library: str | Path,
    limits: Limits = (),
    *,
    device: str | Device | Sequence[str | Device] = (),
    predictor: str = "",
    signatures: str | Sequence[str] = (),
    trained: str | Path | None = None,
    fit: str = "",
    fit_networks: int | None = None,
    pareto: str | Iterable[str] = (),
    finalists: int | None = None,
    distance: int = DISTANCE,
    fine_tune: int = FINE_TUNE,
    fine_tune_epochs: int = FINE_TUNE_EPOCHS,
    fine_tune_recipe: str | Path | None = None,
    rounds: int = 1,
    seed: int = 0,
    seeds: int = 1,
    max_flops: float | None = None,
    results: str | Path | None = None,
    output: str | Path | None = None,
    verify: int | None = None,
    confidence: float | None = None,
    runtime: str = "",
    threads: int | None = None,
    precision: str = "",
    batch: int | None = None,
    doubtful: bool = False,
    wait_s: float = 0.0,
    runner: Runner | None = None,
    accelerator: str = "cpu",
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> BlockwiseResult:
    """Return a trained network within limits on devices of a store, as `harness search --method blockwise` does.

    - `library`: a folder of `distill`. Its blocks' `signatures`, one or several, are what a `predictor` reads.
    - `fit`: what the predictor is fitted to, "scratch", the networks of `trained`, a folder of `train`; or "fine-tuned",
      `fit_networks` random ones that are fine-tuned for it.
    - `finalists`: so many of the best, which differ in `distance` stages if possible, are judged with the library's weights;
      `fine_tune` of them are trained on, for `fine_tune_epochs` by `fine_tune_recipe`.
    - `rounds`: each network found is the next one's teacher. `seeds`: searches with seeds from `seed` on.
    - `pareto`: costs along whose front to choose. `max_flops`: no round begins that could bring all training above it.
    - `verify`: measure this many of them with their own weights.
    - `output`: a folder, made for the network, its models and what repeats it. `results`: where trainings are kept.
    - `runner`: as for `train`; `accelerator`: of torch, such as "cuda".

    Other arguments are as for `search_store`.
    Raises: ConfigError, before anything is trained, for whatever is missing or does not fit.

    >>> found = search_blocks(store, library, "params<40k", finalists=2, fine_tune=1, fine_tune_epochs=1)
    >>> found.best.params < 40_000, len(found.to_records()[0])
    (True, 1)
    """
    check_store(store)
    fronts = (pareto,) if isinstance(pareto, str) else tuple(pareto)
    numbers = {
        "finalists": (finalists, 1), "distance": (distance, 1), "fine_tune": (fine_tune, 0), "rounds": (rounds, 1),
        "fine_tune_epochs": (fine_tune_epochs, 1), "fit_networks": (fit_networks, 3), "seed": (seed, 0), "seeds": (seeds, 1),
        "verify": (verify, 1),
    }  # fmt: skip
    paths = {
        "trained": trained,
        "fine_tune_recipe": fine_tune_recipe,
        "results": results,
        "output": output,
    }
    given: dict[str, Any] = {
        name: whole_number(name, value, least=least) for name, (value, least) in numbers.items()
    }
    given |= {name: None if path is None else Path(path) for name, path in paths.items()}
    request = BlockwiseRequest(
        query=query_of(
            limits, device=device, costs=fronts, confidence=confidence, runtime=runtime, threads=threads, precision=precision,
            batch=batch, doubtful=doubtful, devices_file=devices_file,
        ),
        library=Path(library),
        predictor=predictor,
        columns=((signatures,) if isinstance(signatures, str) else tuple(signatures)) or None,
        fit=fit,
        pareto=fronts,
        max_flops=max_flops,
        device=accelerator,
        wait_s=wait_s,
        **given,
    )  # fmt: skip
    found = search_library(
        request,
        open_store=lambda: nullcontext(store),
        runner=runner or LocalPool(device=accelerator),
        watch=logged(log),
        observe=observed_by(log),
        log=log,
    )
    raise_first(found.outcomes)
    return found


def search_library(
    request: BlockwiseRequest,
    *,
    open_store: Callable[[], AbstractContextManager[Store]],
    runner: Runner,
    watch: Watch,
    observe: Callable[[], AbstractContextManager[ExportObserver]],
    log: Callable[[str], None],
) -> BlockwiseResult:
    """Search a library, and as the request asks measure the best networks and write the answer's folder.

    The store is closed while networks are trained, which may take days. `runner` runs units of work, which `watch` shows;
    `observe` follows campaigns.
    Raises: ConfigError or ConversionError, before anything is trained, for whatever is missing or does not fit.
    """
    library = load_whole_library(request.library)
    with open_store() as store:
        setting, provenance, fronts = prepare(
            request, library, store, partial(run_watched, runner=runner, watch=watch), log
        )
    kinds = (
        ()
        if request.output is None
        else searched_models(provenance, request.query.latencies.choice.precision)
    )
    devices = (
        {}
        if request.verify is None
        else devices_to_verify(provenance, request.query.latencies.choice.devices_file)
    )
    runs = search_seeds(library, setting, request.seeds, partial(_search, request=request))
    run = incumbent(runs)
    student, measured, within = run.answer, None, True
    outcomes: tuple[Outcome, ...] = ()
    with tempfile.TemporaryDirectory(prefix="harness-blockwise-") as scratch:
        folder = Path(scratch)
        if request.verify is not None:
            with open_store() as store, observe() as observer:
                verdict = verify_students(
                    run.searched.found.students[: request.verify],
                    setting,
                    provenance,
                    request.query.latencies,
                    store,
                    devices,
                    observer,
                    folder=folder,
                    wait_s=request.wait_s,
                )
            student, measured, within = verdict.student, verdict.measured, verdict.within
            outcomes = verdict.outcomes
        answer = BlockwiseAnswer(
            setting=setting,
            provenance=provenance,
            runs=runs,
            run=run,
            student=student,
            measured=measured,
            within=within,
            library=request.library,
            fronts=cost_fronts(run.searched, setting, fronts),
            command=request.command,
        )
        document = blockwise_document(answer)
        models: tuple[ModelFile, ...] = ()
        if request.output is not None:
            document, models = write_answer(request.output, answer, document, folder, kinds)
    return BlockwiseResult(answer=answer, document=document, outcomes=outcomes, models=models)


def _search(
    library: BlockLibrary, setting: Setting, request: BlockwiseRequest
) -> tuple[Iterated | None, Searched]:
    """Search a library once, or round after round where the request asks for that."""
    if request.rounds == 1 and request.max_flops is None:
        return None, search_round(library, setting)
    return search_again(library, setting, Budget(rounds=request.rounds, flops=request.max_flops))


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
