"""`harness audit`: test whether a network's latency on a device is the sum of its parts' latencies."""

from __future__ import annotations

from harness.commands.options import (
    ConfigurationId,
    DeviceName,
    DevicesFile,
    JsonFlag,
    RuntimeName,
    StoredSpace,
    StoreOption,
    TakeDoubtful,
    ThreadCount,
    WideFlag,
    open_store,
)


def audit(
    device: DeviceName = "",
    runtime: RuntimeName = "",
    threads: ThreadCount = None,
    identifier: ConfigurationId = "",
    space: StoredSpace = "",
    doubtful: TakeDoubtful = False,
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    wide: WideFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Compare networks with the sum of their stem, cells, reductions and head, each measured on its own.

    Shows the error of the sum, its sources (stage boundaries, wirings, ops), and whether an additive latency model holds here.
    """
    from harness.output.audit import print_audit
    from harness.prediction.audit import audit_configuration

    with open_store(store_url) as store:
        found = audit_configuration(
            store,
            device=device,
            runtime=runtime,
            threads=threads,
            configuration=identifier,
            space=space,
            doubtful=doubtful,
            devices_file=devices_file,
        )
    print_audit(found, json_output=json_output, wide=wide)
