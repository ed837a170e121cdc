"""Kinds of accuracy predictors, and of the accuracies that they are fitted to: names that are checked before torch is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def check_names(predictor: str, fit: str, columns: Iterable[str]) -> None:
    """Raise ConfigError for an unknown name of --predictor or --fit, where they are given, or --signature."""
    for option, texts, known in (
        ("--predictor", filter(None, [predictor]), PREDICTORS),
        ("--fit", filter(None, [fit]), FITS),
        ("--signature", columns, COLUMNS),
    ):
        for text in texts:
            if text not in known:
                near = did_you_mean(text, known)
                raise ConfigError(f"{option} {text!r} is unknown{near} (known: {', '.join(known)})")
