"""`harness compare`: whether one network or model file is faster than another on a device; what a precision gains."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.choice_options import ChoiceOptions, takes_choice
from harness.commands.measure_options import InputOptions, takes_inputs
from harness.commands.options import (
    JsonFlag,
    MeasureLevel,
    StoreOption,
    check_stored,
    make_store,
    named_devices,
    open_store,
)


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
    from harness.models.file_names import is_file_name
    from harness.models.names import check_names
    from harness.query.requests import check_compared

    if not check_compared(first, second, precision=options.precision, configuration=options.configuration):
        check_names([first, second], options.space)
    are_files = is_file_name(first) or is_file_name(second)
    if are_files:
        named_devices([options.device] if options.device else None, options.devices_file)
    with make_store(store_url) if are_files else open_store(store_url) as store:
        if not are_files:
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
