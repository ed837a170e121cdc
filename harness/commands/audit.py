"""`harness audit`: does the sum of its parts tell a network's latency on a device?"""

from __future__ import annotations

import typer

from harness.commands.options import (
    ConfigurationId,
    DeviceName,
    JsonFlag,
    RuntimeName,
    StoreOption,
    TakeDoubtful,
    ThreadCount,
)
from space.errors import ConfigError


def audit(
    device: DeviceName = "",
    runtime: RuntimeName = "",
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    doubtful: TakeDoubtful = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Compare networks with the sum of their stem, cells, reductions and head, each measured on its own.

    Says how far the sum is off, where (stage boundaries, wirings, ops), and whether a latency model by adding up holds here.
    """
    from dataclasses import asdict

    from harness.commands.options import open_store
    from harness.commands.tables import print_json
    from harness.prediction.space_prediction import check_enough, doubt_text, graded_segments, load_measured
    from harness.store.configurations import describe, measure_command, one_configuration
    from search.latency.audit import audit as audit_sums
    from search.latency.audit import render
    from space.segments import all_segments

    store = open_store(store_url)
    try:
        configuration = one_configuration(
            store, device=device, runtime=runtime, threads=threads, identifier=identifier
        )
        measured = load_measured(store, configuration, doubtful=doubtful)
        check_enough(measured)
        segments, apart = graded_segments(store, configuration, doubtful=doubtful)
    finally:
        store.close()
    wanted = [str(segment) for segment in all_segments(measured.config)]
    missing = [text for text in wanted if text not in segments]
    told = measured.doubtful + apart
    if told:
        typer.echo(f"note: {doubt_text(told, configuration)}", err=True)
    if missing:
        well = " well enough" if apart else ""
        raise ConfigError(
            f"device {configuration.device!r}: {len(missing)} of {len(wanted)} segments are not measured{well} "
            f"(e.g. {missing[0]}); measure them: {measure_command(configuration)} --models segments --level quick"
        )
    ceiling = measured.ceiling()
    found = audit_sums(
        segments,
        measured.indices,
        measured.ratios,
        config=measured.config,
        ceiling=None if ceiling is None else ceiling.mape,
    )
    if json_output:
        print_json(asdict(found) | {"doubtful": told.to_json()})
        return
    typer.echo(describe(configuration))
    typer.echo(render(found))
