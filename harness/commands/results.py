"""`harness results`: stored latencies."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import (
    ConfigurationId,
    DevicesFile,
    JsonFlag,
    ShownModels,
    StoredDevices,
    StoredPrecision,
    StoreOption,
    ThreadCount,
    check_one_format,
    check_runtime,
    check_stored,
    checked_by,
    open_store,
)
from space.errors import ConfigError


def results(
    device: StoredDevices = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            "-r",
            callback=checked_by(check_runtime),
            help="Only this runtime, with or without :PROVIDER; repeatable.",
        ),
    ] = None,
    models: ShownModels = None,
    threads: ThreadCount = None,
    precision: StoredPrecision = "",
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Only measurements of runs of this many images.")
    ] = None,
    identifier: ConfigurationId = "",
    failures: Annotated[bool, typer.Option("--failures", help="Show what failed instead.")] = False,
    sustained: Annotated[
        bool, typer.Option("--sustained", help="Show runs under load instead: 'harness measure --sustained'.")
    ] = False,
    csv_output: Annotated[bool, typer.Option("--csv", help="Print CSV on standard output.")] = False,
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Show stored latencies, fastest first, with 95 % intervals and plain wall times."""
    from harness.store.configurations import ConfigurationChoice

    check_one_format(csv_output, json_output)
    if sustained and (failures or csv_output):
        raise ConfigError(f"--sustained and {'--failures' if failures else '--csv'}: leave one of them out")
    choice = ConfigurationChoice(
        device=device or (),
        runtime=runtime or (),
        threads=threads,
        precision=precision,
        batch=batch,
        configuration=identifier,
        devices_file=devices_file,
    )
    with open_store(store_url) as store:
        check_stored(store, choice)
        from harness.models.results import failures as stored_failures
        from harness.models.results import stored_latencies, sustained_runs
        from harness.output.sustained import print_sustained_list
        from harness.output.tables import print_failures, print_results

        if sustained:
            runs = sustained_runs(store, choice, models or ())
            print_sustained_list(runs, json_output=json_output)
        elif failures:
            failed = stored_failures(store, choice, models or ())
            print_failures(failed, json_output=json_output, csv_output=csv_output)
        else:
            found = stored_latencies(store, choice, models or ())
            print_results(found, store, json_output=json_output, csv_output=csv_output)
