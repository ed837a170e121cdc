"""Run a blockwise search: from a library of distilled blocks to a trained network within limits on devices."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.blockwise.answer import BlockwiseAnswer, blockwise_document
from harness.blockwise.folder import searched_models, write_answer
from harness.blockwise.fronts import cost_fronts
from harness.blockwise.setup import BlockwiseRequest, prepare
from harness.blockwise.verify import devices_to_verify, verify_students
from harness.measurement.campaign import Outcome
from harness.models.exported import ExportObserver, ModelFile
from harness.store import Store
from search.blockwise.iterated_search import Budget, Iterated
from search.blockwise.rounds import Searched, search_again, search_round
from search.blockwise.seeds import incumbent, search_seeds
from search.blockwise.setting import Setting, load_whole_library
from search.distillation.block_library import BlockLibrary
from search.work.unit_runs import Runner, Watch, run_watched


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockwiseResult:
    """The answer, its document in JSON's types, the outcomes of the campaigns that measured finished networks, and the models
    in the answer's folder, if any.
    """

    answer: BlockwiseAnswer
    document: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    models: tuple[ModelFile, ...] = ()

    @property
    def exit_status(self) -> int:
        """The command's exit status: the campaigns' worst, else 1 where no measured network is within the limits."""
        status = max((outcome.exit_status for outcome in self.outcomes), default=0)
        return status or int(not self.answer.within)


def search_library(
    request: BlockwiseRequest,
    *,
    open_store: Callable[[], Store],
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
    kinds = () if request.output is None else searched_models(provenance, request.query.latencies.precision)
    devices = {} if request.verify is None else devices_to_verify(provenance, request.query.devices_file)
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
