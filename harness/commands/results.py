"""`harness results`: what is stored."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import ConfigurationId, JsonFlag, StoreOption, ThreadCount


def results(
    device: Annotated[
        list[str] | None, typer.Option("--device", "-d", help="Only this device; repeatable.")
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", "-r", help="Only this runtime, with or without :PROVIDER; repeatable."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", "-m", help="Only these networks; written as for 'harness measure'."),
    ] = None,
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    failures: Annotated[bool, typer.Option("--failures", help="Show what failed instead.")] = False,
    csv_output: Annotated[bool, typer.Option("--csv", help="Print CSV on standard output.")] = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Show stored latencies, fastest first, with 95 % intervals and plain wall times."""
    from harness.commands.options import open_store
    from harness.commands.tables import check_one_format, print_failures, print_latencies
    from harness.estimates.latency import latencies
    from harness.models.names import in_spaces, select_architectures
    from harness.store.configurations import select_configurations

    check_one_format(csv_output, json_output)
    wanted = None
    if models:
        named = in_spaces(lambda config: select_architectures(models, config))
        wanted = {space: [one.graph_hash for one in found] for space, found in named.items()}
    store = open_store(store_url)
    try:
        configurations = select_configurations(
            store, devices=device or [], runtimes=runtime or [], threads=threads, identifier=identifier
        )
        if wanted is not None:
            configurations = [c for c in configurations if c.space in wanted]
        if failures:
            found = [
                f
                for f in store.failures()
                if f.configuration in configurations
                and (wanted is None or f.graph_hash in wanted[f.configuration.space])
            ]
            if not found and not json_output and not csv_output:
                typer.echo("no failure is stored that fits", err=True)
                return
            print_failures(found, json_output=json_output, csv_output=csv_output)
            return
        rows = [
            row
            for c in configurations
            for row in latencies(store, c, None if wanted is None else wanted[c.space])
        ]
        if not rows and not json_output and not csv_output:
            what = (
                f"nothing is stored that fits ({store.name})"
                if store.configurations()
                else "nothing is measured yet"
            )
            typer.echo(f"{what}; measure first: harness measure", err=True)
            return
        print_latencies(rows, json_output=json_output, csv_output=csv_output)
    finally:
        store.close()
