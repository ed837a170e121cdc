"""Does a network's peak memory repeat from one fresh worker to the next? And is it a line through the model's size?

    python benchmarks/memory.py [--networks 10] [--times 5]

Random networks on this machine, in every runtime that it has, each alone in fresh workers of the real agent, as `harness measure
--memory` has it. Spread: largest less smallest, over the median; `of three`: of medians of three workers, which are what is told.
"""

from __future__ import annotations

import tempfile
import time
from itertools import combinations
from statistics import median
from typing import Any, cast

import numpy as np
from campaigns import models_of
from machine import describe_machine, option_parser

from harness.devices.config import Format, LocalDevice
from harness.devices.connection import Connection, new_owner
from harness.devices.runtimes import RuntimeUse, choose_runtimes
from harness.devices.transports import open_transport
from harness.measurement.workload import Model

TARGET = "target: medians of three repeat within 3 %"


def main() -> None:
    """Weigh the networks and print a table for each runtime."""
    parser = option_parser(__doc__)
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    print(describe_machine())
    source = models_of([f"sample:{arguments.networks}@7"])
    with tempfile.TemporaryDirectory() as root:
        device = LocalDevice(name="local", root=root)
        link = Connection(device, open_transport(device), owner=new_owner())
        link.open()
        for runtime in choose_runtimes(device, link.hello, (), ()):
            models = source.models(cast(Format, runtime.format))
            started_s = time.monotonic()
            answers = [[weigh(link, runtime, model) for model in models] for _ in range(arguments.times)]
            worker_s = (time.monotonic() - started_s) / arguments.times / arguments.networks
            show(runtime, [model.architecture for model in models], answers)
            print(f"a worker takes {worker_s:.2f} s")
        link.close()
    print(f"\n{TARGET}")


def weigh(link: Connection, runtime: RuntimeUse, model: Model) -> dict[str, Any]:
    """Return what a fresh worker of the agent tells of a model."""
    assembly = model.assemble()
    link.client.send_models([assembly])
    job = {"network": assembly.recipe(), "runtime": runtime.name, "options": runtime.options}
    return link.client.weigh(job | {"threads": 1, "cores": None, "silence_s": 60.0})


def show(runtime: RuntimeUse, networks: list[str], answers: list[list[dict[str, Any]]]) -> None:
    """Print each network's memory, and how far a line through the model's size is off."""
    empty_mb = median(one["empty_bytes"] for some in answers for one in some) / 1e6
    print(f"\n{runtime.name} {runtime.version} {runtime.provider}, an empty worker {empty_mb:.1f} MB")
    print("  model MB  memory MB  spread  of three  load ms  first run ms  network")
    sizes, memories, spreads, of_three = [], [], [], []
    for network, found in zip(networks, zip(*answers, strict=True), strict=True):
        taken = [(one["peak_bytes"] - one["empty_bytes"]) / 1e6 for one in found]
        sizes.append(found[0]["model_bytes"] / 1e6)
        memories.append(median(taken))
        spreads.append(spread(taken))
        of_three.append(spread([median(some) for some in combinations(taken, 3)]))
        load_ms, first_ms = (median(one[key] for one in found) / 1e6 for key in ("load_ns", "first_run_ns"))
        print(f"{sizes[-1]:10.2f} {memories[-1]:10.2f} {spreads[-1]:7.2%} {of_three[-1]:9.2%}", end=" ")
        print(f"{load_ms:8.1f} {first_ms:13.1f}  {network}")
    for name, shares in (("spread", spreads), ("of medians of three", of_three)):
        print(f"{name}: median {median(shares):.2%}, most {max(shares):.2%}")
    slope, fixed_mb = np.polyfit(sizes, memories, 1)
    off = np.abs(np.polyval((slope, fixed_mb), sizes) / memories - 1)
    print(
        f"{fixed_mb:.1f} MB + {slope:.2f} x model: off by {np.median(off):.1%} (median), {off.max():.1%} (most)"
    )


def spread(values: list[float]) -> float:
    """Return the range of values as a share of their median."""
    return (max(values) - min(values)) / median(values)


if __name__ == "__main__":
    main()
