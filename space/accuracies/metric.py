"""Choice of the accuracy column of a user's table: by its title, never by whether its cells can be read.

A column is not left out for a bad cell: it is chosen as if the cell were right, and the cell is refused. What a title says is a
cost (a latency, a size, an error) is no accuracy, for of a cost less is better, and a search takes the most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from space.accuracies.user_readers import UserTable
from space.errors import DatasetError, MissingMetric, did_you_mean, shown

# Test accuracies last: who searches on them chooses by luck on the test images.
FIRST_CHOICES = ("val_top1", "test_top1")
_NAMED = "name the column of accuracies: --metric COLUMN, or metric= in Python"
_LOSS, _ERROR = "a loss", "an error"
# What a title is of, by one of its words, whole and in lower case.
_COSTS = {
    _LOSS: r"loss(es)?|nll|perplexity|.*entropy",
    _ERROR: r"err|errors?|r?mse|mae|mape|inaccurac(y|ies)|regrets?|miss|misses|misclass.*",
    "a time": r"latenc(y|ies)|.*times?|timings?|durations?|delays?|seconds?|milli.*|micro.*|epochs?",
    "a size": r".*sizes?|.*bytes?|mem|.*memory|v?ram|storage|footprint",
    "a count of parameters": r"[kmn]?params?|parameters?|weights?",
    "a count of operations": r"[kmgt]?macs?|[kmgt]?flops?|m?madds?|m?ops|multadds?",
    "an energy": r"energy|energies|power|joules?|watts?|battery",
    "a cost": r"costs?|prices?",
    "a speed": r"fps|throughput|speeds?",
    "a rank": r"ranks?|ranking",
}
_UNITS = {  # as a title's last word
    "a time": r"s|secs?|[mun]s|min|h|hours?",
    "a size": r"b|[kmg]i?b",
    "an energy": r"m?j|m?wh?",
}
_ACCURACY = r".*accs?|.*accurac(y|ies)|top"
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LIKE_NUMBER = re.compile(r"\s*[+-]?[0-9]*[.,]?[0-9]+[.,]?([eE][+-]?[0-9]+)?\s*%?\s*")


def metric_of(source: UserTable, wanted: str, others: Sequence[str]) -> str:
    """Return the title of the accuracies' column, `wanted` or else one of the `others` than networks and seeds.

    Raises:
        DatasetError: there is none, several could be meant, or the title is that of a cost.
    """
    if wanted:
        if wanted not in others:
            raise MissingMetric(f"there is no accuracy {shown(wanted)}{instead_of(wanted, others)}")
        return _no_cost(wanted)
    for name in FIRST_CHOICES:
        if name in others:
            return name
    meant = [name for name in others if cost_named(name) != _LOSS and _holds_numbers(source, name)]
    if not meant:
        raise DatasetError(f"no column holds numbers beside the networks; {_NAMED}")
    accuracies = [name for name in meant if not cost_named(name)]
    if len(accuracies) == 1 and _says_accuracy(accuracies[0]):
        return accuracies[0]
    if len(meant) > 1:
        raise DatasetError(
            f"{_bad_cells(source, meant)}{len(meant)} columns hold numbers ({_listed(meant)}) beside the networks; {_NAMED}"
        )
    return _no_cost(meant[0])


def instead_of(wanted: str, titles: Sequence[str]) -> str:
    """Return the end of a refusal of a title: the nearest of those that there are, and these."""
    return f"{did_you_mean(wanted, titles)} (there are: {_listed(titles)})"


def _listed(titles: Sequence[str]) -> str:
    return shown(", ".join(titles))[1:-1]


def cost_named(title: str) -> str:
    """Return the kind of cost that a title names, such as `a time` for `latency_ms`; empty where it names none.

    A title that says accuracy, such as `top1_epoch_12`, is a cost only as a loss or an error.
    """
    words, may_be_any = _words(title), not _says_accuracy(title)
    kinds = _COSTS if may_be_any else (_LOSS, _ERROR)
    found = [what for what in kinds if any(re.fullmatch(_COSTS[what], word) for word in words)]
    if may_be_any and words:
        found += [what for what, units in _UNITS.items() if re.fullmatch(units, words[-1])]
    return next(iter(found), "")


def _words(title: str) -> list[str]:
    """Return a title's words in lower case: `latency_ms` and `sizeMB` have two, `MACs` also one."""
    return [*re.findall("[a-z]+", title.lower()), *(word.lower() for word in _CAMEL.findall(title))]


def _says_accuracy(title: str) -> bool:
    return any(re.fullmatch(_ACCURACY, word) for word in _words(title))


def _no_cost(title: str) -> str:
    if what := cost_named(title):
        raise DatasetError(
            f"column {shown(title)} is {what} and no accuracy, by its title; choose a column of percent, of which more is "
            "better: --metric COLUMN, or rename this one if it holds such"
        )
    return title


def _holds_numbers(source: UserTable, title: str) -> bool:
    """Return whether a column is meant to hold numbers: a cell is or looks like one, or the title says accuracy."""
    if source.is_numeric(title) or _says_accuracy(title):
        return True
    return any(isinstance(cell, str) and _LIKE_NUMBER.fullmatch(cell) for cell in source.cells(title))


def _bad_cells(source: UserTable, titles: Sequence[str]) -> str:
    """Return the first error of each column that cannot be read, to precede the question which column is meant."""
    complaints = ""
    for title in titles:
        try:
            source.numbers(title)
        except DatasetError as error:
            complaints += f"{error}; and "
    return complaints
