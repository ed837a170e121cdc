"""`harness audit`: does the sum of its parts tell a network's latency on a device?"""

from __future__ import annotations

import typer

from harness.commands.options import (
    ConfigurationId,
    DeviceName,
    JsonFlag,
    RuntimeName,
    StoreOption,
    ThreadCount,
)
from harness.devices import LOCAL
from harness.errors import ConfigError


def audit(
    device: DeviceName = LOCAL,
    runtime: RuntimeName = "",
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Compare networks with the sum of their stem, cells, reductions and head, each measured on its own.

    Says how far the sum is off, where (stage boundaries, wirings, ops), and whether a latency model by adding up holds here.
    """
    from dataclasses import asdict

    from harness.commands.prediction import load_measured, load_segments
    from harness.commands.stored import one_configuration
    from harness.commands.tables import describe, print_json
    from harness.store import Store, default_url
    from search.latency.audit import audit as audit_sums
    from search.latency.audit import render
    from space.segments import all_segments

    store = Store(store_url or default_url())
    try:
        configuration = one_configuration(
            store, device=device, runtime=runtime, threads=threads, identifier=identifier
        )
        measured = load_measured(store, configuration)
        segments = load_segments(store, configuration)
    finally:
        store.close()
    wanted = [str(segment) for segment in all_segments(measured.config)]
    missing = [text for text in wanted if text not in segments]
    if missing:
        raise ConfigError(
            f"device {device!r}: {len(missing)} of {len(wanted)} segments are not measured (e.g. {missing[0]}); measure them: "
            f"harness measure --device {device} --runtime {configuration.runtime} --threads {configuration.threads} "
            "--models segments --level quick"
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
        print_json(asdict(found))
        return
    typer.echo(describe(configuration))
    typer.echo(render(found))
