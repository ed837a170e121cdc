"""`harness results`: what is stored."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import JsonFlag, StoreOption
from harness.errors import ConfigError


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
    failures: Annotated[bool, typer.Option("--failures", help="Show what failed instead.")] = False,
    csv_output: Annotated[bool, typer.Option("--csv", help="Print CSV on standard output.")] = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Show stored latencies, fastest first, with 95 % intervals and plain wall times."""
    from harness.commands.sources import select_architectures
    from harness.commands.tables import print_failures, print_latencies
    from harness.devices import parse_runtime
    from harness.errors import did_you_mean
    from harness.latencies import latencies
    from harness.selection import short_provider
    from harness.store import Store, default_url

    runtimes = []
    for text in runtime or []:
        try:
            name, provider = parse_runtime(text)
        except ValueError as error:
            raise ConfigError(f"--runtime {text!r}: {error}") from error
        runtimes.append((name, short_provider(provider)))
    wanted = [a.graph_hash for a in select_architectures(models)] if models else None
    store = Store(store_url or default_url())
    try:
        configurations = store.configurations()
        known = sorted({configuration.device for configuration in configurations})
        for name in device or []:
            if name not in known:
                raise ConfigError(
                    f"nothing is stored of device {name!r}{did_you_mean(name, known)} (stored: {', '.join(known) or 'nothing'}); "
                    f"measure it: harness measure --device {name}"
                )
        configurations = [
            c
            for c in configurations
            if (not device or c.device in device)
            and (
                not runtimes
                or (c.runtime, "") in runtimes
                or (c.runtime, short_provider(c.provider)) in runtimes
            )
        ]
        if failures:
            found = [
                f
                for f in store.failures()
                if f.configuration in configurations and (wanted is None or f.graph_hash in wanted)
            ]
            if not found and not json_output and not csv_output:
                typer.echo("no failure is stored that fits", err=True)
                return
            print_failures(found, json_output=json_output, csv_output=csv_output)
            return
        rows = [row for c in configurations for row in latencies(store, c, wanted)]
        if not rows and not json_output and not csv_output:
            typer.echo(
                f"nothing is stored that fits ({store.name}); measure first: harness measure", err=True
            )
            return
        print_latencies(rows, json_output=json_output, csv_output=csv_output)
    finally:
        store.close()
