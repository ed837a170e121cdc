"""Campaigns on several devices at once, and what is told of them when they end."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import typer

from space.errors import HarnessError

if TYPE_CHECKING:
    from harness.campaign import Options, Outcome
    from harness.commands.progress import ProgressView
    from harness.devices import Device
    from harness.store import Store
    from harness.uses import ModelSource


def run_all(
    chosen: Sequence[tuple[Device, Options]],
    source: ModelSource,
    store: Store,
    view: ProgressView,
    seed: int | None,
) -> list[Outcome]:
    """Run one campaign a device, each with its options, all at once; a device that fails leaves the others alone."""
    from harness.campaign import Outcome, run_campaign
    from harness.measuring import Cancelled

    cancel = threading.Event()

    def run(device: Device, options: Options) -> Outcome:
        try:
            rng = random.Random(seed)
            return run_campaign(device, source, options, store, view, rng=rng, cancel=cancel)
        except HarnessError as error:
            return Outcome(device=device.name, error=Cancelled() if cancel.is_set() else error)

    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        pending = [pool.submit(run, device, options) for device, options in chosen]
        try:
            while not all(future.done() for future in pending):
                for future in pending:
                    if not future.done():
                        threading.Event().wait(0.1)
        except KeyboardInterrupt:
            cancel.set()
            view.say("stopping: the session under way is given up, what was measured is stored")
        return [future.result() for future in pending]


def finish_until(outcome: Outcome, store: Store, json_output: bool) -> None:
    """Print what the predictor is worth now; exit with the status of the last campaign."""
    from harness.commands.predict import doubts, print_report
    from harness.commands.tables import print_json
    from harness.prediction.space_prediction import predict_space, summary

    if outcome.uses and outcome.error is None:
        table = predict_space(store, outcome.uses[0].configuration)
        for note in doubts(table):
            typer.echo(f"note: {note}", err=True)
        if json_output:
            print_json(summary(table))
        else:
            print_report(table)
            typer.echo(f"the whole table: harness predict --device {outcome.device} --csv", err=True)
    status = summarise(outcome)
    if status:
        raise typer.Exit(status)


def finish(outcomes: list[Outcome], store: Store, json_output: bool) -> None:
    """Print the table and what did not work; exit with the status that says so."""
    from harness.commands.tables import print_latencies
    from harness.estimates.latency import latencies

    rows = []
    for outcome in outcomes:
        for use in outcome.uses:
            networks = [model.graph_hash for model in use.models if model.purpose == "network"]
            rows += latencies(store, use.configuration, networks)
    if rows or json_output:
        print_latencies(rows, json_output=json_output)
    status = max(summarise(outcome) for outcome in outcomes)
    if status:
        raise typer.Exit(status)


def summarise(outcome: Outcome) -> int:
    """Say on standard error what a campaign did; return its exit status."""
    if outcome.uses:
        sessions = "session" if outcome.measured == 1 else "sessions"
        parts = [f"{outcome.measured} {sessions} measured in {outcome.elapsed_s:.0f} s"]
        if outcome.redone:
            parts.append(f"{outcome.redone} measured again because the device throttled")
        if outcome.reused:
            parts.append(f"{outcome.reused} already stored (--fresh measures anew)")
        if outcome.sent_bytes:
            parts.append(f"{outcome.sent_bytes / 1e6:.2f} MB of model parts sent")
        typer.echo(f"{outcome.device}: {', '.join(parts)}", err=True)
    kinds: dict[str, int] = {}
    for failure in outcome.failures:
        kinds[failure.kind] = kinds.get(failure.kind, 0) + 1
    if kinds:
        text = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        typer.echo(
            f"{outcome.device}: {len(outcome.failures)} failures ({text}); see 'harness results --failures'",
            err=True,
        )
    if outcome.error is not None:
        typer.echo(f"harness: {outcome.error}", err=True)
        return outcome.error.exit_status
    return 3 if outcome.failures else 0
