"""Packed jobs and what was imported, as text."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from harness.output.campaigns import print_failures
from harness.output.sustained import print_sustained
from harness.output.tables import print_json, print_latencies
from harness.output.terminal import echo
from space.text import counted

if TYPE_CHECKING:
    from harness.measurement.packed import PackedJob
    from harness.prediction.pack import Imported


def print_job(job: PackedJob, path: Path, device: str, *, json_output: bool) -> None:
    """Print what a packed job holds, and the next steps."""
    if json_output:
        print_json(
            {
                "job": job.job_id,
                "path": str(path),
                "device": device,
                "networks": job.networks,
                "sessions": job.sessions,
                "parts": job.parts,
                "size_bytes": len(job.data),
            }
        )
        return
    echo(
        f"{path}: {counted(job.networks, 'network')}, up to {counted(job.sessions, 'session')} in each runtime, "
        f"{len(job.data) / 1e6:.1f} MB, for device {device}"
    )
    file = path if path.is_file() else Path("job.zip")  # else it goes on to where the user wants it
    results = shlex.quote(f"{file.stem}-results.zip")
    echo(f"on the device: python3 {shlex.quote(file.name)}; then here: harness import {results}", err=True)


def print_imported(found: Imported, *, json_output: bool, figure: Path | None = None) -> None:
    """Print the latencies of an imported job's networks, then how many of its sessions are new.

    Of runs under load print their summaries, and draw them to `figure`.
    """
    outcome = found.outcome
    if found.sustained:
        print_sustained(found.sustained, json_output=json_output, figure=figure)
    elif found.rows or json_output:
        print_latencies(found.rows, json_output=json_output)
    known = f", {outcome.reused} were there already" if outcome.reused else ""
    if figure is not None and not found.sustained:
        echo(f"--plot {figure}: nothing is drawn, for the results hold no run under load", err=True)
    if not found.sustained:
        echo(f"{outcome.device}: {counted(outcome.measured, 'session')} imported{known}", err=True)
    print_failures(outcome)
