"""Before a worker starts: which cores are free, how they are asked for, and how long to wait for one.

Load averages say nothing of one core. So the agent pins a process to each core that may be used, for a tenth of a second, and
tells what share of it the process waited; the quietest cores are taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import DeviceError, LinkError

FREE_SHARE = 0.05  # of a probe's 100 ms: one turn of another program, such as a daemon's, is no busy core
HOPELESS_SHARE = 0.3  # a single busy program takes a half; what is clean then was picked by its turns
POLL_S = 2.0
PATIENCE_S = 30.0  # at the start, for someone sits and waits; and all later waits of a campaign together


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreRequest:
    """How a campaign asks for its cores: the first way that the agent has shown to help, or none and why.

    `method` is empty without one. `refusals`: what was said to each way that was not granted.
    """

    method: str = ""
    verified: bool = False
    refusals: tuple[str, ...] = ()

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> CoreRequest:
        """Return the request that fits an agent's answer to `permissions`. Raises: LinkError."""
        try:
            grants = [dict(grant) for grant in answer["requests"]]
            best = next((str(grant["method"]) for grant in grants if grant["verified"] is True), "")
            refusals = tuple(f"{grant['method']}: {grant['reason']}" for grant in grants if grant["reason"])
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"the agent broke the protocol in its answer to permissions: {error}") from error
        return cls(method=best, verified=bool(best), refusals=refusals)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietCores:
    """The cores that a worker takes: the quietest of those allowed, and what their probe waited, a share (None: not known)."""

    cores: tuple[int, ...]
    waited: float | None
    quota_cores: float | None
    scheduling: Mapping[str, Any]

    @classmethod
    def of(cls, answer: Mapping[str, Any], threads: int) -> QuietCores:
        """Check an agent's answer to `quiet`. Raises: LinkError."""
        try:
            cores = tuple(answer["cores"])
            shares = [answer["waited"].get(str(core)) for core in cores]
            quota = answer.get("quota_cores")
            if len(cores) != threads or not all(type(core) is int and core >= 0 for core in cores):
                raise ValueError(f"cores {cores} for {threads} threads")
            if not all(share is None or 0 <= float(share) <= 1 for share in shares):
                raise ValueError(f"shares of time {shares}")
            if quota is not None and not 0 < float(quota) < 1e6:
                raise ValueError(f"a quota of {quota!r} cores")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LinkError(f"the agent broke the protocol in its answer to quiet: {error}") from error
        known = [float(share) for share in shares if share is not None]
        return cls(
            cores=cores,
            waited=max(known) if known else None,
            quota_cores=None if quota is None else float(quota),
            scheduling={} if quota is None else {"quota_cores": float(quota)},
        )


class CoreGate:
    """Wait for a free core, patiently at first; a campaign whose cores never get free is refused before it begins."""

    def __init__(self, device: str, say: Callable[[str], None], cancel: threading.Event) -> None:
        self._device, self._say, self._cancel = device, say, cancel
        self._patience_s = PATIENCE_S
        self._has_begun = False

    def wait(
        self, probe: Callable[[], QuietCores], request: CoreRequest
    ) -> tuple[QuietCores, dict[str, Any]]:
        """Return the cores to take, and for the record how they were found.

        Raises: DeviceError when none is free before the campaign's first session, within half a minute.
        """
        waited_s = 0.0
        quiet = probe()
        while is_busy(quiet) and waited_s < self._patience_s and not self._cancel.is_set():
            self._say(
                f"{self._trouble(quiet, request)}; waiting for it, {self._patience_s - waited_s:.0f} s more"
            )
            if self._cancel.wait(POLL_S):
                break
            waited_s += POLL_S
            quiet = probe()
        if self._has_begun or not is_busy(quiet):
            self._patience_s = max(0.0, self._patience_s - waited_s) if self._has_begun else PATIENCE_S
        elif (quiet.waited or 0.0) > HOPELESS_SHARE and not self._cancel.is_set():
            raise DeviceError(
                f"device {self._device!r}: {self._trouble(quiet, request)}, and did not stop for {waited_s:.0f} s; "
                f"{self._remedy(request)}"
            )
        self._has_begun = True
        found: dict[str, Any] = {"cores": list(quiet.cores), "waited": quiet.waited, "waited_s": waited_s}
        return quiet, found

    def _trouble(self, quiet: QuietCores, request: CoreRequest) -> str:
        cores = ",".join(map(str, quiet.cores))
        name = f"core {cores} is" if len(quiet.cores) == 1 else f"cores {cores} are"
        asked = f" although {request.method} scheduling was asked for" if request.method else ""
        return f"{name} busy: another program takes {quiet.waited:.0%} of the time{asked}"

    def _remedy(self, request: CoreRequest) -> str:
        others = "stop that program, or name free cores with --cores"
        if request.method:
            return others
        return f"{others}; 'harness doctor --device {self._device}' says what lets harness get ahead of it"


def is_busy(quiet: QuietCores) -> bool:
    """Whether other programs hold the quietest cores; what a CPU quota takes away is no other program's."""
    if quiet.quota_cores is not None and quiet.quota_cores < len(quiet.cores):
        return False
    return quiet.waited is not None and quiet.waited > FREE_SHARE
