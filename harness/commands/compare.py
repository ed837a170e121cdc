"""`harness compare`: whether one network is faster than another on a device, slower, or a tie."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.choice_options import ChoiceOptions, takes_choice
from harness.commands.options import JsonFlag, StoreOption, WideFlag, open_store


@takes_choice
def compare(
    first: Annotated[str, typer.Argument(help="An architecture, its graph hash or its index.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    options: ChoiceOptions,
    store_url: StoreOption = "",
    wide: WideFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Compare two networks on each configuration of a device: A is faster than B, slower, or a tie.

    Two networks are ordered when the 95 % interval of their ratio leaves out 1.
    """
    from harness.output.latency_comparison import print_pairs
    from harness.query.compare import compare as compare_networks

    with open_store(store_url) as store:
        found = compare_networks(store, first, second, **options.keywords())
    print_pairs(found, json_output=json_output, wide=wide)
