"""Campaigns on several devices at once, and of several configurations one after the other."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
    running = _Running(chosen, source, store, observer, seed, wait_s)
    try:  # from the first one's start on: an interrupt may come between two
        running.start()
        running.wait()
    except KeyboardInterrupt:
        running.stop()
        running.wait(GRACE_S)
    return running.outcomes()


@dataclass(slots=True)
class _Running:
    """Campaigns that run at once, a thread each; the ended ones are in `found`, by their places among the `chosen`."""

    chosen: Sequence[tuple[Device, Options]]
    source: ModelSource | GroupedSource
    store: Store
    observer: Observer
    seed: int | None
    wait_s: float
    cancel: threading.Event = field(default_factory=threading.Event)
    found: dict[int, Outcome | BaseException] = field(default_factory=dict)

    def start(self) -> None:
        """Start all campaigns."""
        for number, one in enumerate(self.chosen):
            threading.Thread(target=self._run, args=(number, *one), daemon=True).start()

    def wait(self, limit_s: float = float("inf")) -> None:
        """Wait for all campaigns; not by joining threads, which an interrupt makes look ended (Python 3.11)."""
        deadline_s = time.monotonic() + limit_s
        while len(self.found) < len(self.chosen) and time.monotonic() < deadline_s:
            threading.Event().wait(0.1)

    def stop(self) -> None:
        """Ask those that still run to end, and say so."""
        self.cancel.set()
        for number, (device, _) in enumerate(self.chosen):
            if number not in self.found:
                text = "stopping: the session under way is given up, what was measured is stored"
                self.observer.event(device.name, Note(text=text))

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes in order; a campaign that is still running was cancelled. Raises: a fault of harness in any."""
        outcomes = []
        for number, (device, _) in enumerate(self.chosen):
            outcome = self.found.get(number) or Outcome(device=device.name, error=Cancelled())
            if isinstance(outcome, BaseException):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    def _run(self, number: int, device: Device, options: Options) -> None:
        one: Outcome | BaseException
        try:
            one = self._measure(device, options)
        except HarnessError as error:
            one = Outcome(device=device.name, error=Cancelled() if self.cancel.is_set() else error)
        except BaseException as error:  # noqa: BLE001 - raised again where the caller is
            one = error
        try:
            if len(self.found) < len(self.chosen) - 1 and not self.cancel.is_set():
                self.observer.event(device.name, Ended(trouble=_trouble(one)))
        finally:
            self.found[number] = one

    def _measure(self, device: Device, options: Options) -> Outcome:
        source, store, observer, rng = self.source, self.store, self.observer, random.Random(self.seed)
        if isinstance(device, AdbDevice):
            return run_averages(
                device, source, options, store, observer, rng=rng, cancel=self.cancel, wait_s=self.wait_s
            )
        return run_campaign(
            device, source, options, store, observer, rng=rng, cancel=self.cancel, wait_s=self.wait_s
        )


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
