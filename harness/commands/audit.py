"""`harness audit`: test whether a network's latency on a device is the sum of its parts' latencies."""

from __future__ import annotations

import typer

from harness.commands.options import (
    ConfigurationId,
    DeviceName,
    JsonFlag,
    RuntimeName,
    StoredSpace,
    StoreOption,
    TakeDoubtful,
    ThreadCount,
    open_store,
)


def audit(
    device: DeviceName = "",
    runtime: RuntimeName = "",
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    space: StoredSpace = "",
    doubtful: TakeDoubtful = False,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Compare networks with the sum of their stem, cells, reductions and head, each measured on its own.

    Shows the error of the sum, its sources (stage boundaries, wirings, ops), and whether an additive latency model holds here.
    """
    from dataclasses import asdict

    from harness.output.tables import print_json
    from harness.prediction.audit import audit_configuration
    from harness.prediction.space_prediction import doubt_text
    from harness.store.configurations import describe, one_configuration
    from search.latency.audit import render

    with open_store(store_url) as store:
        configuration = one_configuration(
            store, device=device, runtime=runtime, threads=threads, identifier=identifier, space=space
        )
        found, apart = audit_configuration(store, configuration, doubtful=doubtful)
    if apart:
        typer.echo(f"note: {doubt_text(apart, configuration)}", err=True)
    if json_output:
        print_json(asdict(found) | {"doubtful": apart.to_json()})
        return
    typer.echo(describe(configuration))
    typer.echo(render(found))
