"""Readiness check before a worker starts: free cores, the scheduling to ask for, and the wait for a free core.

Load averages say nothing of one core. So the agent pins a process to each core that may be used, for a tenth of a second, and
tells what share of it the process waited; the quietest cores are taken.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import DeviceError, LinkError
from harness.measurement.events import BusyCores, Note, OnProgress

FREE_SHARE = 0.05  # of a probe's 100 ms: one turn of another program, such as a daemon's, is no busy core
HOPELESS_SHARE = 0.3  # a single busy program takes a half; what is clean then was picked by its turns
POLL_S = 2.0
PATIENCE_S = 30.0  # at the start, for someone sits and waits; and all later waits of a campaign together


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreRequest:
    """Scheduling request for the cores of a campaign: the first that the agent verified to help, or none.

    `method` is empty without one.
    """

    method: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> CoreRequest:
        """Return the request that fits an agent's answer to `permissions`."""
        verified = (grant["method"] for grant in answer["grants"] if grant["verified"])
        return cls(method=next(verified, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietCores:
    """The quietest of the allowed cores, which a worker takes, and the wait shares of the probes on them.

    `taken`: the share of the time that other programs take from a process that asks for nothing; `waited`: that which a process
    waits that asks as the worker does. None: not known. `others_waited`: the most that a process waits on one of the device's
    other cores, asked for where the system does not tell how busy they are. `slowed`: how much longer than a like core that is
    not allowed one of these took for a fixed piece of work, relative, 0 where no such core was asked.
    """

    cores: tuple[int, ...]
    taken: float | None
    waited: float | None
    quota_cores: float | None = None
    others_waited: float | None = None
    slowed: float = 0.0

    @classmethod
    def of(cls, answer: Mapping[str, Any], threads: int) -> QuietCores:
        """Return the cores of an agent's answer to `quiet`. Raises: LinkError when it names too many or too few."""
        cores = tuple(answer["cores"])
        if len(cores) != threads:
            raise LinkError(
                f"the agent broke the protocol in its answer to quiet: cores {cores} for {threads} threads"
            )
        # Where asking is refused, nothing is told of it: then it changes nothing.
        asking = {**answer["waited"], **answer.get("waited_asking", {})}
        return cls(
            cores=cores,
            taken=_most(answer["waited"], cores),
            waited=_most(asking, cores),
            quota_cores=answer.get("quota_cores"),
            others_waited=answer.get("others_waited"),
            slowed=answer.get("slowed", 0.0),
        )


def _most(shares: Mapping[str, float], cores: tuple[int, ...]) -> float | None:
    """Return the largest share of the cores; None where none is known."""
    return max((shares[str(core)] for core in cores if str(core) in shares), default=None)


class CoreGate:
    """Readiness check for a free core, patient at first; a campaign whose cores never get free is refused before it begins."""

    def __init__(
        self,
        device: str,
        on_progress: OnProgress,
        cancel: threading.Event,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock_s = clock_s
        self._device, self._on_progress, self._cancel = device, on_progress, cancel
        self._patience_s = PATIENCE_S
        self._has_begun = False

    def wait(
        self, probe: Callable[[], QuietCores], request: CoreRequest
    ) -> tuple[QuietCores, dict[str, Any]]:
        """Return the cores to take, and a record of the probes.

        Raises: DeviceError when none is free before the campaign's first session, within half a minute.
        """
        started_s = self._clock_s()
        waited_s = 0.0
        quiet = probe()
        if not self._has_begun and (quiet.taken or 0.0) > FREE_SHARE:
            self._on_progress(Note(text=self._situation(quiet, request)))
        while is_busy(quiet) and waited_s < self._patience_s and not self._cancel.is_set():
            self._on_progress(BusyCores())
            if self._cancel.wait(POLL_S):
                break
            quiet = probe()
            waited_s = self._clock_s() - started_s
        if self._has_begun:
            self._patience_s = max(0.0, self._patience_s - waited_s)
        elif is_busy(quiet) and (quiet.waited or 0.0) > HOPELESS_SHARE and not self._cancel.is_set():
            raise DeviceError(
                f"device {self._device!r}",
                f"{_trouble(quiet)}, and did not stop for {waited_s:.0f} s; {self._remedy(request)}",
            )
        self._has_begun = True
        found = {
            "cores": list(quiet.cores),
            "taken": quiet.taken,
            "waited": quiet.waited,
            "waited_s": waited_s,
        }
        told = {"others_waited": quiet.others_waited, "slowed": quiet.slowed or None}
        return quiet, found | {name: value for name, value in told.items() if value is not None}

    def _situation(self, quiet: QuietCores, request: CoreRequest) -> str:
        """Describe the load of the cores, its consequence and the remedy."""
        if is_busy(quiet):
            return f"{_trouble(quiet)}: waiting for it, {PATIENCE_S:.0f} s at most; {self._remedy(request)}"
        if quiet.quota_cores is not None and quiet.quota_cores < len(quiet.cores):
            return (
                f"a CPU quota of {quiet.quota_cores:g} cores holds harness back for {quiet.taken:.0%} of the time; runs "
                "that it interrupts do not count, so that this takes longer: lift the quota"
            )
        return (
            f"{_trouble(quiet)}, but yields to {request.method} scheduling, which was asked for (then {quiet.waited:.0%}); "
            "what still gets in between does not count"
        )

    def _remedy(self, request: CoreRequest) -> str:
        others = "stop that program, or name free cores with --cores"
        if request.method:
            return others
        return f"{others}; 'harness doctor --device {self._device}' says what lets harness get ahead of it"


def _trouble(quiet: QuietCores) -> str:
    cores = ",".join(map(str, quiet.cores))
    name = f"core {cores} is" if len(quiet.cores) == 1 else f"cores {cores} are"
    return f"{name} busy: another program takes {quiet.taken or quiet.waited:.0%} of the time"


def is_busy(quiet: QuietCores) -> bool:
    """Return whether other programs hold the quietest cores; time taken by a CPU quota does not count."""
    if quiet.quota_cores is not None and quiet.quota_cores < len(quiet.cores):
        return False
    return quiet.waited is not None and quiet.waited > FREE_SHARE
