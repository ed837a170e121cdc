"""`harness predict`: latencies of a whole space from measured networks, with cross-validated errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.choice_options import ChoiceOptions, takes_choice
from harness.commands.options import (
    JsonFlag,
    PriorId,
    ShownModels,
    StoreOption,
    TakeDoubtful,
    check_one_format,
    log,
    open_store,
)
from space.atomic_files import check_output_file


@takes_choice
def predict(
    options: ChoiceOptions,
    prior: PriorId = "",
    models: ShownModels = None,
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
    check_one_format(csv_output, json_output)
    check_output_file(output, ".csv")
    with open_store(store_url) as store:
        options.check(store, prior)
        from harness.output.prediction import print_prediction
        from harness.prediction.space_prediction import predict as predict_space

        table = predict_space(
            store,
            **options.keywords(),
            prior=prior,
            models=models or None,
            doubtful=doubtful,
            whole=csv_output or output is not None,
            log=log,
        )
    print_prediction(table, csv_output=csv_output, json_output=json_output, output=output)
