"""Campaigns on several devices at once, and of several configurations one after the other."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from device_agents.names import short_provider
from harness.devices.config import AdbDevice, Device, parse_precision
from harness.errors import Cancelled
from harness.measurement.averages import run_averages
from harness.measurement.campaign import Observer, Outcome, run_campaign
from harness.measurement.events import Ended, Note
from harness.measurement.plan import LEVELS, Options
from harness.measurement.workload import GroupedSource, ModelSource
from harness.records import Configuration
from harness.store import Store
from space.errors import HarnessError
from space.text import counted

GRACE_S = 1.5  # after Ctrl-C, for what is under way to end by itself


def run_all(
    chosen: Sequence[tuple[Device, Options]],
    source: ModelSource | GroupedSource,
    store: Store,
    observer: Observer,
    seed: int | None = None,
    wait_s: float = 0.0,
) -> list[Outcome]:
    """Run one campaign on each device, each with its options, concurrently; a failing device does not affect the others.

    The observer is told of each that ends before the others. `wait_s`: for how long a device in use is waited for.
    On Ctrl-C each gives up the session under way and ends; what was measured is stored. One that waits for something that does
    not come, such as a connection, is left behind after a moment: its thread ends with the process.
    """
    cancel = threading.Event()
    found: dict[int, Outcome | BaseException] = {}

    def wait(limit_s: float = float("inf")) -> None:
        """Wait for all campaigns; not by joining threads, which an interrupt makes look ended (Python 3.11)."""
        deadline_s = time.monotonic() + limit_s
        while len(found) < len(chosen) and time.monotonic() < deadline_s:
            threading.Event().wait(0.1)

    def run(number: int, device: Device, options: Options) -> None:
        one: Outcome | BaseException
        try:
            rng = random.Random(seed)
            if isinstance(device, AdbDevice):
                one = run_averages(
                    device, source, options, store, observer, rng=rng, cancel=cancel, wait_s=wait_s
                )
            else:
                one = run_campaign(
                    device, source, options, store, observer, rng=rng, cancel=cancel, wait_s=wait_s
                )
        except HarnessError as error:
            one = Outcome(device=device.name, error=Cancelled() if cancel.is_set() else error)
        except BaseException as error:  # noqa: BLE001 - raised again where the caller is
            one = error
        try:
            if len(found) < len(chosen) - 1 and not cancel.is_set():
                observer.event(device.name, Ended(trouble=_trouble(one)))
        finally:
            found[number] = one

    try:  # from the first one's start on: an interrupt may come between two
        for number, one in enumerate(chosen):
            threading.Thread(target=run, args=(number, *one), daemon=True).start()
        wait()
    except KeyboardInterrupt:
        cancel.set()
        for number, (device, _) in enumerate(chosen):
            if number not in found:
                text = "stopping: the session under way is given up, what was measured is stored"
                observer.event(device.name, Note(text=text))
        wait(GRACE_S)
    outcomes = []
    for number, (device, _) in enumerate(chosen):
        outcome = found.get(number) or Outcome(device=device.name, error=Cancelled())
        if isinstance(outcome, BaseException):
            raise outcome
        outcomes.append(outcome)
    return outcomes


def _trouble(ended: Outcome | BaseException) -> str:
    """Return a campaign's trouble, empty where there was none."""
    if isinstance(ended, BaseException):
        return f"a fault of harness, shown when all have ended: {type(ended).__name__}: {ended}"
    if ended.error is not None:
        return ended.error.reason
    return f"complete with {counted(len(ended.failures), 'failure')}" if ended.failures else ""


def measure_finalists(
    configurations: Iterable[Configuration],
    devices: Mapping[str, Device],
    source: ModelSource,
    store: Store,
    observer: Observer,
    *,
    wait_s: float = 0.0,
    memory: bool = False,
    energy: bool = False,
) -> list[Outcome]:
    """Measure the source's models at level final under each configuration, devices concurrently; `wait_s` as in `run_all`.

    `memory`: also what each takes alone in fresh processes; `energy`: also the energy of an inference.
    """
    outcomes: list[Outcome] = []
    for turn in turns(configurations):
        chosen = [(devices[c.device], replace(final_options(c), memory=memory, energy=energy)) for c in turn]
        outcomes += run_all(chosen, source, store, observer, wait_s=wait_s)
    return outcomes


def final_options(configuration: Configuration) -> Options:
    """Return the options that measure under a configuration at level final."""
    c = configuration
    return Options(
        runtimes=(f"{c.runtime}:{short_provider(c.provider)}",),
        precisions=(parse_precision(c.precision),),
        batches=(c.batch,),
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
