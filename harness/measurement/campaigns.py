"""Campaigns on several devices at once, and of several configurations one after the other."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from harness.devices.config import Device, short_provider
from harness.errors import Cancelled
from harness.measurement.campaign import Observer, Outcome, run_campaign
from harness.measurement.plan import LEVELS, Options
from harness.measurement.workload import ModelSource
from harness.records import Configuration
from harness.store import Store
from space.errors import HarnessError


def run_all(
    chosen: Sequence[tuple[Device, Options]],
    source: ModelSource,
    store: Store,
    observer: Observer,
    seed: int | None = None,
) -> list[Outcome]:
    """Run one campaign on each device, each with its options, concurrently; a failing device does not affect the others.

    On Ctrl-C each gives up the session under way and ends; what was measured is stored.
    """
    cancel = threading.Event()

    def run(device: Device, options: Options) -> Outcome:
        try:
            rng = random.Random(seed)
            return run_campaign(device, source, options, store, observer, rng=rng, cancel=cancel)
        except HarnessError as error:
            return Outcome(device=device.name, error=Cancelled() if cancel.is_set() else error)

    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        pending = [pool.submit(run, device, options) for device, options in chosen]
        try:
            while not all(future.done() for future in pending):
                for future in pending:
                    if not future.done():
                        threading.Event().wait(0.1)
        except KeyboardInterrupt:
            cancel.set()
            for (device, _), future in zip(chosen, pending, strict=True):
                if not future.done():
                    observer.tell(
                        device.name,
                        "stopping: the session under way is given up, what was measured is stored",
                    )
        return [future.result() for future in pending]


def measure_finalists(
    configurations: Iterable[Configuration],
    devices: Mapping[str, Device],
    source: ModelSource,
    store: Store,
    observer: Observer,
) -> list[Outcome]:
    """Measure the source's models at level final under each configuration, devices concurrently."""
    return [
        outcome
        for turn in turns(configurations)
        for outcome in run_all([(devices[c.device], final_options(c)) for c in turn], source, store, observer)
    ]


def final_options(configuration: Configuration) -> Options:
    """Return the options that measure under a configuration at level final."""
    c = configuration
    return Options(
        runtimes=(f"{c.runtime}:{short_provider(c.provider)}",),
        threads=c.threads,
        cores=c.cores,
        level=LEVELS["final"],
    )


def turns(configurations: Iterable[Configuration]) -> list[list[Configuration]]:
    """Group configurations, each once, into turns with at most one for each device; devices of a turn run concurrently."""
    dealt: list[list[Configuration]] = []
    for one in dict.fromkeys(configurations):
        for turn in dealt:
            if all(other.device != one.device for other in turn):
                turn.append(one)
                break
        else:
            dealt.append([one])
    return dealt
