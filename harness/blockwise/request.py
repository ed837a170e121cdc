"""Request of a blockwise search, checked where it is made: quickly, for nothing is imported here that trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.blockwise.defaults import DISTANCE, FINE_TUNE, FINE_TUNE_EPOCHS
from search.blockwise.predictor_kinds import (
    DONNA,
    FINE_TUNED,
    LANA,
    LINEAR,
    PREDICTORS,
    SCRATCH,
    SUM,
    check_names,
)
from search.distillation.signatures import TRAIN_LOSS_CHANGE
from space.atomic_files import check_output_file
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.query.query import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockwiseRequest:
    """Request of a blockwise search: `library` is a folder of distilled blocks, `query` holds devices and limits.

    `predictor`: "" is linear with `trained`, a folder of trainings, donna where `fit` is "fine-tuned", else sum. `columns`: the
    signatures that it reads, None for its default ones. `fit`: the networks that it is fitted to, those of `trained` ("scratch")
    or `fit_networks` (by default `FIT_NETWORKS`) fine-tuned from the library ("fine-tuned"); "" follows from the others.
    `pareto`: costs with a front over predicted accuracy each. `finalists`, `distance`, `fine_tune`: as in `SearchPlan`; None is
    `FINALISTS`, or LANA's number. `results`: the folder of finished trainings, by default in the library's. `device`: where to
    train, as torch names it. `seeds`: the number of searches, each but the first with blocks distilled by another seed
    (`search.blockwise.rounds`). `verify`: the number of finished networks to measure on devices of the query's file; `wait_s`:
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
        check_names(self.predictor, self.fit, self.columns or ())
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


def check_output(output: Path) -> None:
    """Refuse an output folder that exists already, or cannot be made. Raises: ConfigError."""
    if output.exists():
        raise ConfigError(f"--output {output}: is there already; name another folder, or remove it")
    check_output_file(output)
