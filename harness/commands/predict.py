"""`harness predict`: latencies of a whole space from measured networks, with cross-validated errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import (
    ConfigurationId,
    DeviceName,
    JsonFlag,
    PriorId,
    RuntimeName,
    StoredSpace,
    StoreOption,
    TakeDoubtful,
    ThreadCount,
    open_store,
)
from space.errors import ConfigError


def predict(
    device: DeviceName = "",
    runtime: RuntimeName = "",
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    space: StoredSpace = "",
    prior: PriorId = "",
    models: Annotated[
        list[str] | None,
        typer.Option("--models", "-m", help="Show only these networks; written as for 'harness measure'."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the whole table, or --models, to this CSV file."),
    ] = None,
    csv_output: Annotated[
        bool, typer.Option("--csv", help="Print the whole table, or --models, as CSV on standard output.")
    ] = False,
    doubtful: TakeDoubtful = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Predict the latency of every network of the space from those measured on one configuration.

    Candidate predictors are cross-validated; the best one makes the table. Measured networks keep
    their measured latency; the others have an interval meant to hold a measurement in 90 of 100 cases.
    """
    from harness.models.names import select_architectures
    from harness.output.prediction import doubts, print_report, print_rows
    from harness.output.tables import check_one_format, print_csv, print_json, write_csv
    from harness.prediction.rows import COLUMNS
    from harness.prediction.space_prediction import predict_space, space_of, summary
    from harness.store.configurations import one_configuration, prior_configuration

    check_one_format(csv_output, json_output)
    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"{output}: no folder {str(output.parent)!r}; make it first")
    with open_store(store_url) as store:
        configuration = one_configuration(
            store, device=device, runtime=runtime, threads=threads, identifier=identifier, space=space
        )
        config = space_of(configuration)
        chosen = [a.index for a in select_architectures(models, config)] if models else None
        table = predict_space(
            store, configuration, prior_configuration(store, prior, configuration), doubtful=doubtful
        )
    for note in doubts(table):
        typer.echo(f"note: {note}", err=True)
    rows = table.rows(chosen) if csv_output or output is not None or chosen is not None else []
    documents = [row.to_json() for row in rows]
    if csv_output:
        print_csv(documents, COLUMNS)
    elif json_output:
        print_json(summary(table) | {"networks": documents if chosen is not None else []})
    else:
        print_report(table)
        print_rows(table, chosen)
    if output is not None:
        write_csv(output, documents, COLUMNS)
        typer.echo(f"{output}: {len(rows)} networks", err=True)
    elif not csv_output and not json_output and chosen is None:
        typer.echo("the whole table: --csv, or --output FILE.csv", err=True)
