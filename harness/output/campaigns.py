"""Campaigns as text: outcomes, and the latencies measured."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.output.prediction import doubts, print_report
from harness.output.sustained import print_sustained
from harness.output.tables import first_numbers, print_json, print_latencies
from harness.output.terminal import echo, width_of
from harness.prediction.measure import latencies_of
from harness.prediction.space_prediction import summary
from space.text import counted

if TYPE_CHECKING:
    from harness.measurement.campaign import Outcome
    from harness.measurement.workload import RuntimePlan
    from harness.prediction.measure import Measured
    from harness.store import Store

SETBACKS = {"throttled": "the device throttled", "contended": "another program disturbed them"}


def first_numbers_in(store: Store) -> Callable[[RuntimePlan, int], list[str]]:
    """Return the table that `ProgressView` shows during a campaign: latencies so far, in a given number of lines."""
    return lambda use, lines: first_numbers(latencies_of(use, store), width_of(sys.stderr), lines)


def print_measured(found: Measured, *, json_output: bool, figure: Path | None = None) -> None:
    """Print the latencies of all campaigns' networks, or the predicted space's errors, then what each campaign did.

    Of runs under load print their summaries, and draw them to `figure`.
    """
    if found.table is not None:
        for note in doubts(found.table):
            echo(f"note: {note}", err=True)
    if found.table is not None and json_output:
        print_json(summary(found.table))
    elif found.table is not None:
        print_report(found.table)
        device = found.table.measured.configuration.device
        if found.table.everywhere is not None:
            echo(f"the whole table: harness predict --device {device} --csv", err=True)
        else:
            echo(f"networks by name: harness predict --device {device} --models sample:20", err=True)
    elif found.rows or (json_output and found.rows is not None):
        print_latencies(found.rows, json_output=json_output)
    if found.sustained is not None:
        print_sustained(found.sustained, json_output=json_output, figure=figure)
    for outcome in found.outcomes:
        print_outcome(outcome)


def print_outcome(outcome: Outcome) -> None:
    """Print a campaign's outcome, failures and final error on standard error."""
    if outcome.uses:
        sessions = "session" if outcome.measured == 1 else "sessions"
        parts = [f"{outcome.measured} {sessions} measured in {outcome.elapsed_s:.0f} s"]
        parts += [
            f"{number} measured again because {SETBACKS[trouble]}"
            for trouble, number in sorted(outcome.setbacks.items())
        ]
        if outcome.reused:
            parts.append(f"{outcome.reused} already stored (--fresh measures again)")
        if outcome.sent_bytes:
            parts.append(f"{outcome.sent_bytes / 1e6:.2f} MB of model parts sent")
        echo(f"{outcome.device}: {', '.join(parts)}", err=True)
    print_failures(outcome)


def print_failures(outcome: Outcome) -> None:
    """Print how many networks failed, by kind, and why the rest was given up."""
    if outcome.failures:
        kinds = Counter(failure.kind for failure in outcome.failures)
        text = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        echo(
            f"{outcome.device}: {counted(len(outcome.failures), 'failure')} ({text}); see 'harness results --failures'",
            err=True,
        )
    if outcome.error is not None:
        echo(f"harness: {outcome.error}", err=True)
