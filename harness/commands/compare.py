"""`harness compare`: whether one network or model file is faster than another on a device; what a precision gains."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.choice_options import ChoiceOptions, takes_choice
from harness.commands.measure_options import InputOptions, takes_inputs
from harness.commands.options import JsonFlag, MeasureLevel, StoreOption, check_stored


@takes_choice
@takes_inputs
def compare(
    first: Annotated[
        str,
        typer.Argument(
            help="An architecture, its graph hash or its index; or a model file; or a precision.", metavar="A"
        ),
    ],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    *,
    options: ChoiceOptions,
    level: Annotated[
        MeasureLevel, typer.Option("--level", "-l", help="For model files: effort, as for 'harness measure'.")
    ] = MeasureLevel.screen,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="For model files: measure again what is already stored.")
    ] = False,
    of_files: InputOptions,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Compare two networks on each configuration of a device: A is faster than B, slower, or a tie.

    Two networks are ordered when the 95 % interval of their ratio leaves out 1. Two model files of one format are timed against
    each other in the same processes, now. Of two precisions, such as fp32 and int8, all networks are compared that are measured
    in both: the ratio of their latencies, their rank correlation, and which ops gain.
    """
    from harness.models.names import check_names
    from harness.query.requests import check_compared

    kind = check_compared(first, second, precision=options.precision, configuration=options.configuration)
    if kind != "precisions":
        check_names([first, second], options.space)
    with options.compared_store(store_url, of_files=kind == "files") as store:
        if kind != "files":
            check_stored(store, options.choice())
        from harness.output.latency_comparison import print_compared
        from harness.output.progress import ProgressView
        from harness.query.compare import compare_any

        with ProgressView() as view:
            found = compare_any(
                store,
                first,
                second,
                **options.keywords(),
                level=level,
                fresh=fresh,
                inputs=of_files.given(),
                log=view,
            )
    print_compared(found, json_output=json_output)
