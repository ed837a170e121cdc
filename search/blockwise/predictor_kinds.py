"""Kinds of accuracy predictors, and of the accuracies that they are fitted to: names that are checked before torch is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from search.distillation.signatures import COLUMNS, TRAIN_LOSS_CHANGE
from space.errors import ConfigError, did_you_mean

FINE_TUNED, SCRATCH = "fine-tuned", "scratch"
FITS = (SCRATCH, FINE_TUNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorKind:
    """A kind of predictor: its default `columns` of signatures, and whether it takes only a `single` one.

    `is_published`: a method's published form, which takes no other columns. `ranks`: a plain sum of one column, which ranks
    networks without accuracies. `is_sum`: its predictions are always sums over blocks. Cross-validation leaves out one network
    at a time for up to `one_by_one` networks, and uses that number of folds for more.
    """

    columns: tuple[str, ...]
    single: bool = False
    is_published: bool = False
    ranks: bool = False
    is_sum: bool = True
    one_by_one: int = 200


SUM, LINEAR, SECOND_ORDER, GCN = "sum", "linear", "second-order", "gcn"
DONNA, LANA = "donna", "lana"
PREDICTORS: Mapping[str, PredictorKind] = MappingProxyType(
    {
        SUM: PredictorKind(columns=("loss_change",), single=True, ranks=True),
        LINEAR: PredictorKind(columns=("nsr", "loss_change")),
        SECOND_ORDER: PredictorKind(columns=("nsr", "loss_change"), is_sum=False),
        GCN: PredictorKind(columns=("nsr", "loss_change"), is_sum=False, one_by_one=5),
        DONNA: PredictorKind(columns=("nsr",), single=True, is_published=True),
        LANA: PredictorKind(columns=(TRAIN_LOSS_CHANGE,), single=True, is_published=True, ranks=True),
    }
)


def check_predictor(text: str) -> None:
    """Raise ConfigError for a text of --predictor that names none."""
    _check("--predictor", text, PREDICTORS)


def check_fit(text: str) -> None:
    """Raise ConfigError for a text of --fit that names none."""
    _check("--fit", text, FITS)


def check_column(text: str) -> None:
    """Raise ConfigError for a text of --signature that names none."""
    _check("--signature", text, COLUMNS)


def _check(option: str, text: str, known: Collection[str]) -> None:
    if text not in known:
        raise ConfigError(
            f"{option} {text!r} is unknown{did_you_mean(text, known)} (known: {', '.join(known)})"
        )
