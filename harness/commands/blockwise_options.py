"""`harness search --method blockwise`: its options, which of them belong to which method, and the call."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.option_groups import takes
from harness.commands.options import open_store
from harness.commands.workers import Workers
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.query.query import Query
    from search.work.results import Results
    from search.work.unit import Unit

METHOD = "blockwise"
# Options of `harness search` that only methods with given accuracies understand.
FOREIGN = (
    *("accuracies", "metric", "epoch", "training_seed", "accuracy_sd", "allow_pickle"),
    *("pareto", "top", "budget", "pool", "batch"),
)
_SPELT = {"pool": "--proxy-pool", "batch": "--proxy-batch"}


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(name, help=f"With --method {METHOD}: {text}", **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockwiseOptions:
    """The options of the blockwise method alone, as given on the command line."""

    library: Annotated[
        Path | None, _option("--library", "the folder of distilled blocks that 'harness distill' wrote.")
    ] = None
    predictor: Annotated[
        str,
        _option(
            "--predictor",
            "sum, linear, second-order or gcn; all but sum are fitted to --trained. [default: linear with --trained, else sum]",
        ),
    ] = ""
    signature: Annotated[
        list[str] | None,
        _option(
            "--signature",
            "what the predictor reads of each block, repeatable: mse, nsr, loss_change, accuracy_change, agreement, params, "
            "macs; sum takes one. [default: loss_change for sum, nsr and loss_change for the others]",
        ),
    ] = None
    trained: Annotated[
        Path | None,
        _option(
            "--trained",
            "a folder that 'harness train' wrote: accuracies of some networks, to fit a predictor to.",
        ),
    ] = None
    finalists: Annotated[
        int, _option("--finalists", "networks to judge with their library's weights, untrained.", min=1)
    ] = 20
    distance: Annotated[
        int, _option("--distance", "stages in which finalists differ from each other, if possible.", min=1)
    ] = 2
    fine_tune: Annotated[
        int, _option("--fine-tune", "finalists to fine-tune with distillation; 0: none.", min=0)
    ] = 3
    fine_tune_epochs: Annotated[int, _option("--fine-tune-epochs", "epochs of each fine-tuning.", min=1)] = 10
    fine_tune_recipe: Annotated[
        Path | None,
        _option(
            "--fine-tune-recipe",
            "a training recipe, JSON. [default: the teacher's, with --fine-tune-epochs and --seed]",
        ),
    ] = None
    rounds: Annotated[
        int,
        _option(
            "--rounds",
            "number of rounds: the network found is the next teacher, while accuracy gains more than its noise.",
            min=1,
        ),
    ] = 1
    max_flops: Annotated[
        float | None,
        _option(
            "--max-flops",
            "start no round that could bring training above this number of FLOPs in all, e.g. 1e15.",
        ),
    ] = None
    jobs: Annotated[int, _option("--jobs", "trainings at once, each in a process of its own.", min=1)] = 1
    job_threads: Annotated[
        int,
        _option("--job-threads", "threads of each training; the last bits of results depend on it.", min=1),
    ] = 1
    ray: Annotated[
        str, _option("--ray", "train on the Ray cluster of this address, HOST:PORT.", metavar="ADDRESS")
    ] = ""
    accelerator: Annotated[
        str, _option("--accelerator", "where to train and judge, as torch names it: cpu or cuda.")
    ] = "cpu"
    results: Annotated[
        Path | None,
        _option(
            "--results",
            "a folder that keeps finished trainings: none is done twice. [default: LIBRARY/results]",
        ),
    ] = None

    @property
    def workers(self) -> Workers:
        """Where units of work run."""
        return Workers(jobs=self.jobs, threads=self.job_threads, ray=self.ray, accelerator=self.accelerator)


takes_blockwise = takes(BlockwiseOptions, "blockwise")  # gives a command these options


def check_method(context: typer.Context, method: str) -> None:
    """Refuse, by name, options on the command line that do not belong to the method.

    Raises: ConfigError.
    """
    own = {one.name for one in fields(BlockwiseOptions)}
    wrong = set(FOREIGN) if method == METHOD else own
    for name in context.params:
        source = context.get_parameter_source(name)
        if name in wrong and source is not None and source.name == "COMMANDLINE":
            option = _SPELT.get(name, "--" + name.replace("_", "-"))
            if method == METHOD:
                raise ConfigError(f"{option} means nothing to --method {METHOD}; leave it out")
            raise ConfigError(
                f"{option} belongs to --method {METHOD}, not to {method!r}; add --method {METHOD}, or leave it out"
            )


def find_blockwise(
    query: Query,
    options: BlockwiseOptions,
    *,
    seed: int,
    verify: int | None,
    output: Path | None,
    devices_file: Path | None,
    store_url: str,
    json_output: bool,
) -> None:
    """Search a library and show the answer; exit with 1 when no finished network is within the limits.

    Raises: ConfigError, before anything is trained, for whatever is missing or does not fit.
    """
    from harness.blockwise.run import search_library
    from harness.blockwise.setup import BlockwiseRequest
    from harness.output.blockwise_text import print_blockwise
    from harness.output.campaigns import print_outcome
    from harness.output.progress import ProgressView
    from harness.output.tables import print_json
    from harness.output.training_progress import run_shown

    if options.library is None:
        raise ConfigError(
            f"--method {METHOD} searches a library of blocks: name it with --library; 'harness distill' makes one"
        )
    request = BlockwiseRequest(
        query=query,
        library=options.library,
        predictor=options.predictor,
        columns=tuple(options.signature) if options.signature else None,
        trained=options.trained,
        finalists=options.finalists,
        distance=options.distance,
        fine_tune=options.fine_tune,
        fine_tune_epochs=options.fine_tune_epochs,
        fine_tune_recipe=options.fine_tune_recipe,
        rounds=options.rounds,
        max_flops=options.max_flops,
        results=options.results,
        device=options.accelerator,
        seed=seed,
        verify=verify,
        devices_file=devices_file,
        output=output,
        command=tuple(sys.argv[1:]),
    )
    runner = options.workers.runner()

    def run(
        units: Sequence[tuple[str, Unit]], epochs: int, results: Results, title: str
    ) -> Mapping[str, str]:
        return run_shown(units, epochs, results, runner, quiet=False, title=title, line=_log)

    found = search_library(
        request,
        open_store=lambda: open_store(store_url),
        run=run,
        observe=lambda: ProgressView(quiet=json_output and not sys.stderr.isatty()),
        log=_log,
    )
    for outcome in found.outcomes:
        print_outcome(outcome)
    if json_output:
        print_json(found.document)
    else:
        print_blockwise(found.answer)
    if output is not None:
        _log(f"{output}: {', '.join([*found.document['files'], 'answer.json'])}")
    else:
        _log(
            "the trained network is kept: the same command with --output FOLDER exports it, and trains nothing again"
        )
    status = max((outcome.exit_status for outcome in found.outcomes), default=0)
    if not found.answer.within and not status:
        _log("none of the networks measured is within the limits; set a lower limit, or --confidence 0.95")
        status = 1
    if status:
        raise typer.Exit(status)


def _log(text: str) -> None:
    typer.echo(text, err=True)
