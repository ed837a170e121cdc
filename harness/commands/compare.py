"""`harness compare`: is one network faster than another on a device, slower, or a tie?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import (
    ConfigurationId,
    DeviceName,
    JsonFlag,
    RuntimeName,
    StoreOption,
    ThreadCount,
)
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.estimates.comparison import Comparison
    from harness.estimates.latency import Latency
    from harness.records import Configuration
    from space import Architecture, SpaceConfig


def compare(
    first: Annotated[str, typer.Argument(help="An architecture, its graph hash or its index.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="B")],
    device: DeviceName = "",
    runtime: RuntimeName = "",
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Say for each configuration of a device whether network A is faster than B, slower, or a tie.

    Two networks are ordered when the 95 % interval of their ratio leaves out 1.
    """
    from harness.commands.options import open_store
    from harness.estimates.comparison import compare as compare_estimates
    from harness.estimates.latency import latencies
    from harness.models.names import in_spaces
    from harness.output.latency_comparison import pair_document, print_pair
    from harness.output.tables import print_json
    from harness.prediction.space_prediction import space_of
    from harness.store.configurations import describe, fitting_configurations, measure_command

    pairs = in_spaces(lambda config: _two(first, second, config))
    found: list[tuple[Latency, Latency, Comparison]] = []
    lacking: list[tuple[Configuration, list[str]]] = []
    store = open_store(store_url)
    try:
        fitting = fitting_configurations(
            store, device=device, runtime=runtime, threads=threads, identifier=identifier
        )
        if all(configuration.space not in pairs for configuration in fitting):
            _two(first, second, space_of(fitting[0]))  # says what is wrong
        for configuration in fitting:
            if configuration.space not in pairs:
                continue
            pair = pairs[configuration.space]
            rows = {
                row.graph_hash: row
                for row in latencies(store, configuration, [one.graph_hash for one in pair])
            }
            if missing := [str(one) for one in pair if one.graph_hash not in rows]:
                lacking.append((configuration, missing))
                continue
            a, b = (rows[one.graph_hash] for one in pair)
            found.append(
                (a, b, compare_estimates(a.estimate, b.estimate, [a.configuration, b.configuration]))
            )
    finally:
        store.close()
    if not found:
        configuration, missing = lacking[0]
        raise ConfigError(
            f"device {configuration.device!r}: not measured under "
            f"{'this configuration' if len(lacking) == 1 else 'one configuration with the other'}: {', '.join(missing)}; "
            f"measure what is missing: {measure_command(configuration)} --models {','.join(missing)}"
        )
    if json_output:
        print_json([pair_document(*each) for each in found])
    else:
        for each in found:
            print_pair(*each)
    for configuration, missing in lacking:
        typer.echo(f"{describe(configuration)}: not measured: {', '.join(missing)}", err=True)


def _two(first: str, second: str, config: SpaceConfig) -> tuple[Architecture, Architecture]:
    """Return the two networks of a space. Raises: ConfigError when a text names none or several, or both the same."""
    from harness.models.names import select_architectures

    a, b = (select_architectures([text], config) for text in (first, second))
    for text, named in ((first, a), (second, b)):
        if len(named) != 1:
            raise ConfigError(f"{text!r} names {len(named)} networks; compare takes one and one")
    if a == b:
        raise ConfigError(f"{first!r} and {second!r} are the same network, {a[0]}; name two")
    return a[0], b[0]
