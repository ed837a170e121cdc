"""An audit of additivity as text: its verdict, the errors of sums of parts, and the effects that are clear."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from harness.output.layout import PrintedTable
from harness.output.tables import print_json, print_tables
from harness.output.terminal import echo
from harness.prediction.provenance import doubt_text
from harness.store.configurations import describe

if TYPE_CHECKING:
    from harness.prediction.audit import ConfigurationAudit
    from search.latency.audit import Audit, Effect


def print_audit(found: ConfigurationAudit, *, json_output: bool) -> None:
    """Print the error of the sums, its sources, and whether an additive model holds."""
    if found.doubtful:
        echo(f"note: {doubt_text(found.doubtful, found.configuration)}", err=True)
    audit = found.audit
    if json_output:
        print_json(asdict(audit) | {"doubtful": found.doubtful.to_json()})
        return
    echo(describe(found.configuration))
    echo(f"{audit.verdict}: {audit.reason}")
    borders = "networks against the line through the sum"
    cells = "cells against the sum of their ops alone"
    tables = [_errors(audit), _effects(borders, audit.borders), _effects(cells, audit.cells)]
    print_tables([one for one in tables if one.rows])


def _errors(audit: Audit) -> PrintedTable:
    line = f"a * sum + b, a = {audit.slope:.4f}, b = {audit.intercept:.4f}"
    rows = [
        [
            name,
            f"{errors.mape:.2%}",
            f"{errors.median_ape:.2%}",
            f"{errors.within_5:.0%}",
            f"{errors.within_10:.0%}",
            "no order" if errors.spearman is None else f"{errors.spearman:.3f}",
        ]
        for name, errors in (("sum of parts", audit.plain), (line, audit.affine))
    ]
    if audit.ceiling is not None:
        rows.append(["repeatability: two rounds of measurement", f"{audit.ceiling:.2%}", "", "", "", ""])
    return PrintedTable(
        title=f"errors on {audit.plain.count} networks",
        columns=["latency as", "mean", "median", "in 5 %", "in 10 %", "Spearman"],
        rows=rows,
        folds=(0,),
        spare=("in 10 %", "median", "in 5 %"),
    )


def _effects(title: str, effects: Sequence[Effect]) -> PrintedTable:
    """Return the effects whose interval excludes 0, the largest first."""
    clear = sorted((one for one in effects if one.is_clear), key=lambda one: -abs(one.mean))
    cells: Mapping[str, Callable[[Effect], str]] = {
        "stage": lambda one: str(one.stage),
        "effect of": lambda one: f"{one.factor}: {one.level}",
        "mean": lambda one: f"{one.mean:+.2%}",
        "95 % interval": lambda one: " .. ".join(f"{end:+.2%}" for end in one.interval or [one.mean] * 2),
        "count": lambda one: str(one.count),
    }
    chance = f"{len(effects) / 20:.0f} would by chance"
    title = f"{title}: {len(clear)} of {len(effects)} effects exclude 0, {chance}"
    return PrintedTable.of(title, clear, cells, right=(2, 3, 4), spare=("count", "95 % interval"))
