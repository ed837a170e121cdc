"""The options of `harness search --method blockwise`, and which options belong to which method."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.option_groups import takes, typed_options
from harness.commands.workers import Workers
from search.blockwise.defaults import DISTANCE, FINALISTS, FINE_TUNE, FINE_TUNE_EPOCHS, FIT_NETWORKS, POOL
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.blockwise.request import BlockwiseRequest

METHOD = "blockwise"
# Options of `harness search` that only methods with given accuracies understand.
WITH_ACCURACIES = (
    *("accuracies", "metric", "epoch", "training_seed", "accuracy_sd", "allow_pickle"),
    *("budget", "pool", "batch"),
)
FOREIGN = (*WITH_ACCURACIES, "top", "objective")


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
            "sum, linear, second-order or gcn, or as published: donna or lana. All but sum and lana are fitted to accuracies: "
            "--fit. [default: linear with --trained, donna with --fit fine-tuned, else sum]",
        ),
    ] = ""
    signature: Annotated[
        list[str] | None,
        _option(
            "--signature",
            "score of each block that the predictor reads, repeatable: mse, nsr, loss_change, train_loss_change, "
            "accuracy_change, agreement, params, macs; sum takes one, donna and lana have their own. [default: loss_change for "
            "sum, nsr and loss_change for linear, second-order and gcn]",
        ),
    ] = None
    trained: Annotated[
        Path | None,
        _option(
            "--trained",
            "a folder that 'harness train' wrote: accuracies of some networks, to fit a predictor to.",
        ),
    ] = None
    fit: Annotated[
        str,
        _option(
            "--fit",
            "what the predictor is fitted to: scratch, the networks of --trained, or fine-tuned, random ones that are put "
            "together from the library and fine-tuned for it. [default: fine-tuned for donna without --trained, else scratch]",
        ),
    ] = ""
    fit_networks: Annotated[
        int | None,
        _option(
            "--fit-networks", f"networks to fine-tune for --fit fine-tuned. [default: {FIT_NETWORKS}]", min=3
        ),
    ] = None
    finalists: Annotated[
        int | None,
        _option(
            "--finalists",
            f"networks to judge with their library's weights, untrained. [default: {FINALISTS}; {POOL} for lana, as published]",
            min=1,
        ),
    ] = None
    distance: Annotated[
        int,
        _option(
            "--distance", "number of stages in which finalists differ from each other, if possible.", min=1
        ),
    ] = DISTANCE
    fine_tune: Annotated[
        int, _option("--fine-tune", "number of finalists to fine-tune with distillation, 0 for none.", min=0)
    ] = FINE_TUNE
    fine_tune_epochs: Annotated[int, _option("--fine-tune-epochs", "epochs of each fine-tuning.", min=1)] = (
        FINE_TUNE_EPOCHS
    )
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
            "number of rounds: each network found is the next round's teacher, as long as accuracy gains more than its noise.",
            min=1,
        ),
    ] = 1
    seeds: Annotated[
        int,
        _option(
            "--seeds",
            "searches; each but the first distills its blocks again with another seed, to show how far answers differ.",
            min=1,
            max=100,
        ),
    ] = 1
    max_flops: Annotated[
        float | None,
        _option(
            "--max-flops",
            "start no round that could bring all training above this number of FLOPs, e.g. 1e15.",
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

    def check(self) -> None:
        """Raise ConfigError without a library, or for the name of none, before anything is loaded."""
        from search.blockwise.predictor_kinds import check_names

        if self.library is None:
            raise ConfigError(
                f"--method {METHOD} searches a library of blocks: name it with --library; 'harness distill' makes one"
            )
        check_names(self.predictor, self.fit, self.signature or ())

    def request(self, **others: Any) -> BlockwiseRequest:
        """Return the request of a search; `others` are fields that other searches have, too.

        Raises: ConfigError, as `BlockwiseRequest`.
        """
        from harness.blockwise.request import BlockwiseRequest

        known = {one.name for one in fields(BlockwiseRequest)}
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name in known}
        columns = tuple(self.signature) if self.signature else None
        return BlockwiseRequest(**own, columns=columns, device=self.accelerator, **others)


takes_blockwise = takes(BlockwiseOptions, "blockwise")  # gives a command these options


def check_objective(context: typer.Context) -> None:
    """Refuse, by name, options on the command line that mean nothing to a search by --objective. Raises: ConfigError."""
    for name, option in typed_options(context).items():
        if name in (*WITH_ACCURACIES, "method", "seed"):
            raise ConfigError(
                f"{option} means nothing to --objective, which needs no accuracies; leave one of them out"
            )


def check_method(context: typer.Context, method: str) -> None:
    """Refuse, by name, options on the command line that do not belong to the method.

    Raises: ConfigError.
    """
    own = {one.name for one in fields(BlockwiseOptions)}
    wrong = set(FOREIGN) if method == METHOD else own
    for name, option in typed_options(context).items():
        if name not in wrong:
            continue
        if method == METHOD:
            raise ConfigError(f"{option} means nothing to --method {METHOD}; leave it out")
        raise ConfigError(
            f"{option} belongs to --method {METHOD}, not to {method!r}; add --method {METHOD}, or leave it out"
        )
