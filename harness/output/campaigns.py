"""Campaigns as text: outcomes, and the latencies measured."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.errors import StoreError
from harness.estimates.latency import Latency
from harness.output.tables import echo, first_numbers, print_latencies
from harness.store.latencies import latencies

if TYPE_CHECKING:
    from rich.table import Table

    from harness.measurement.campaign import Outcome
    from harness.measurement.workload import RuntimePlan
    from harness.store import Store

LINES_BESIDE = 8  # of a terminal: title, bars and the prompt, beside the first numbers


def first_numbers_in(store: Store) -> Callable[[RuntimePlan], Table]:
    """Return the table that `ProgressView` shows during a campaign: latencies so far, as many as fit the terminal."""
    return lambda use: first_numbers(
        _measured_networks(use, store), shutil.get_terminal_size().lines - LINES_BESIDE
    )


def print_campaigns(outcomes: Sequence[Outcome], store: Store, *, json_output: bool) -> None:
    """Print the latencies of all campaigns' networks as one table a configuration, then what each campaign did."""
    if any(isinstance(outcome.error, StoreError) for outcome in outcomes):
        rows = []  # the store does not answer: what is measured is told below, and is in no table yet
    else:
        rows = [row for outcome in outcomes for use in outcome.uses for row in _measured_networks(use, store)]
    if rows or json_output:
        print_latencies(rows, json_output=json_output)
    for outcome in outcomes:
        print_outcome(outcome)


def print_outcome(outcome: Outcome) -> None:
    """Print a campaign's outcome, failures and final error on standard error."""
    if outcome.uses:
        sessions = "session" if outcome.measured == 1 else "sessions"
        parts = [f"{outcome.measured} {sessions} measured in {outcome.elapsed_s:.0f} s"]
        if outcome.redone:
            parts.append(f"{outcome.redone} measured again because the device throttled")
        if outcome.reused:
            parts.append(f"{outcome.reused} already stored (--fresh measures again)")
        if outcome.sent_bytes:
            parts.append(f"{outcome.sent_bytes / 1e6:.2f} MB of model parts sent")
        echo(f"{outcome.device}: {', '.join(parts)}", err=True)
    if outcome.failures:
        kinds = Counter(failure.kind for failure in outcome.failures)
        text = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        echo(
            f"{outcome.device}: {len(outcome.failures)} failures ({text}); see 'harness results --failures'",
            err=True,
        )
    if outcome.error is not None:
        echo(f"harness: {outcome.error}", err=True)


def _measured_networks(use: RuntimePlan, store: Store) -> list[Latency]:
    networks = [model.graph_hash for model in use.models if model.purpose == "network"]
    return latencies(store, use.configuration, networks)
