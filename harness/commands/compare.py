"""`harness compare`: is one network faster than another on a device, slower, or a tie?"""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import ConfigurationId, DeviceName, JsonFlag, StoreOption
from harness.devices import LOCAL
from harness.errors import ConfigError


def compare(
    first: Annotated[str, typer.Argument(help="An architecture, its graph hash or its index.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    device: DeviceName = LOCAL,
    runtime: Annotated[
        str, typer.Option("--runtime", "-r", help="Only this runtime, with or without :PROVIDER.")
    ] = "",
    identifier: ConfigurationId = "",
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Say for each configuration of a device whether network A is faster than B, slower, or a tie.

    Two networks are ordered only when their 95 % intervals are apart.
    """
    from harness.commands.sources import select_architectures
    from harness.commands.stored import configuration_id, select_configurations
    from harness.commands.tables import describe, interval_text, print_json, print_table
    from harness.comparison import compare as compare_estimates
    from harness.latencies import latencies
    from harness.store import Store, default_url

    pair = [select_architectures([text]) for text in (first, second)]
    for text, found in zip((first, second), pair, strict=True):
        if len(found) != 1:
            raise ConfigError(f"{text!r} names {len(found)} networks; compare takes one and one")
    (a,), (b,) = pair
    if a == b:
        raise ConfigError(f"{first!r} and {second!r} are the same network, {a}; name two")
    store = Store(store_url or default_url())
    documents, lacking = [], []
    try:
        configurations = select_configurations(
            store, devices=[device], runtimes=[runtime] if runtime else [], identifier=identifier
        )
        for configuration in configurations:
            rows = {
                row.graph_hash: row for row in latencies(store, configuration, [a.graph_hash, b.graph_hash])
            }
            missing = [str(one) for one in (a, b) if one.graph_hash not in rows]
            if missing:
                lacking.append((configuration, missing))
                continue
            row_a, row_b = rows[a.graph_hash], rows[b.graph_hash]
            result = compare_estimates(row_a.estimate, row_b.estimate)
            documents.append(
                {
                    "configuration": configuration_id(configuration),
                    "verdict": result.verdict,
                    "reason": result.reason,
                    "ratio": result.ratio,
                    "low": None if result.interval is None else result.interval[0],
                    "high": None if result.interval is None else result.interval[1],
                    "networks": [
                        {
                            "architecture": row.architecture,
                            "graph_hash": row.graph_hash,
                            "latency_ms": row.latency_ms,
                            "interval_ms": row.interval_ms,
                            "grade": row.grade,
                            "sessions": row.estimate.sessions,
                        }
                        for row in (row_a, row_b)
                    ],
                }
            )
            if json_output:
                continue
            columns = ["network", "latency ms", "95 % interval", "grade", "sessions"]
            cells = [
                [
                    row.architecture,
                    f"{row.latency_ms:.3f}",
                    interval_text(*(row.interval_ms or (None, None))),
                    row.grade,
                    str(row.estimate.sessions),
                ]
                for row in (row_a, row_b)
            ]
            print_table(describe(configuration), columns, cells)
            typer.echo(_verdict(result.verdict, result.reason, result.ratio, result.interval))
    finally:
        store.close()
    if json_output:
        print_json(documents)
    for configuration, missing in lacking:
        typer.echo(f"{describe(configuration)}: not measured: {', '.join(missing)}", err=True)
    if not documents:
        raise ConfigError(
            f"device {device!r}: no configuration has measured both; measure them: harness measure --device {device} "
            f"--models {a},{b}"
        )


def _verdict(verdict: str, reason: str, ratio: float, interval: tuple[float, float] | None) -> str:
    """Return a verdict as a sentence."""
    if verdict == "tie":
        return (
            f"tie: {reason}; more sessions narrow the intervals: harness measure --level final --models A,B"
        )
    assert interval is not None
    low, high = sorted(abs(1 - end) for end in interval)
    return f"A is {verdict} than B: A / B is {ratio:.4f}, {low:.1%} to {high:.1%} {verdict} with 95 %"
