"""A network's profile, for people and for programs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from device_agents.names import short_provider
from harness.output.layout import PrintedTable
from harness.output.tables import ms_text, print_json, print_table
from harness.output.terminal import echo
from space.text import counted

if TYPE_CHECKING:
    from harness.models.profile import NetworkProfile

NS_PER_MS = 1e6
BUSY_SHARE = 0.2  # outside nodes; a quiet run has some 5 %


def _document(found: NetworkProfile) -> dict[str, object]:
    """Return a profile as plain values, its nodes' times added up in each way; times in ns."""
    groups = {by: [dataclasses.asdict(group) for group in found.groups(by)] for by in found.ways}
    document = {
        "architecture": str(found.network),
        "device": found.device,
        "batch": found.batch,
        **dataclasses.asdict(found.profile),
    }
    return document | {"outside_ns": found.profile.outside_ns, "by": groups}


def print_profile(found: NetworkProfile, by: str = "", *, json_output: bool) -> None:
    """Print a network's time by fragment, op or node, and caveats on standard error; or all of it as JSON.

    `by`: empty is the usual way: by fragment, of a file by op.
    """
    if json_output:
        print_json(_document(found))
        return
    taken, by = found.profile, by or found.ways[0]
    ops = {node.name: node.op for node in taken.nodes}
    rows = [
        [
            group.name,
            ops.get(group.name, "") if by == "node" else str(group.nodes or ""),
            ms_text(group.time_ns / NS_PER_MS),
            f"{100 * group.share:.1f}",
        ]
        for group in found.groups(by)
    ]
    count = "" if by == "node" else str(len(taken.nodes))
    rows.append(["whole run", count, ms_text(taken.wall_median_ns / NS_PER_MS), "100.0"])
    where = f"{counted(taken.threads, 'thread')} on core {','.join(map(str, taken.cores))}"
    batch = f" batch {found.batch}" if found.batch > 1 else ""
    title = (
        f"{found.network}{batch} on {found.device}: {taken.runtime} {taken.version} {short_provider(taken.provider)}, "
        f"{where}, the quietest {taken.quiet_runs} of {taken.runs} runs"
    )
    columns = [by, "op" if by == "node" else "nodes", "ms", "%"]
    print_table(PrintedTable(title=title, columns=columns, rows=rows, spare=("nodes", "op")))
    echo(
        f"{ms_text(taken.plain_median_ns / NS_PER_MS)} ms without the profiler, which costs {100 * taken.profiler_share:.1f} %",
        err=True,
    )
    for doubt in taken.doubts:
        echo(f"{doubt}: these times mislead; profile again without", err=True)
    outside = taken.outside_ns / taken.wall_median_ns
    if taken.disturbed_runs:
        echo(
            f"another program had the core in {taken.disturbed_runs} even of the quietest {taken.quiet_runs} runs: times are too "
            "long, and shares mislead; profile again when the device is quiet",
            err=True,
        )
    elif outside > BUSY_SHARE:
        echo(
            f"{100 * outside:.0f} % of the time passed outside nodes: if other processes held the runs up, profile "
            "again when the device is quiet",
            err=True,
        )
    if short_provider(taken.provider) in ("cuda", "tensorrt"):
        echo("a node's time is that of its launch: the GPU computes asynchronously", err=True)
