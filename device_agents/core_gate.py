"""Readiness check before a worker starts: free cores, the scheduling to ask for, and the wait for a free core.

Load averages say nothing of one core. So the agent pins a process to each core that may be used, for a tenth of a second, and
tells what share of it the process waited; the quietest cores are taken. A campaign waits so, and a packed job: so it is one rule,
in one place, for Python 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

FREE_SHARE = 0.05  # of a probe's 100 ms: one turn of another program, such as a daemon's, is no busy core
HOPELESS_SHARE = 0.3  # a single busy program takes a half; what is clean then was picked by its turns
POLL_S = 2.0
PATIENCE_S = 30.0  # at the start, for someone sits and waits; and all later waits of a campaign together


class Hopeless(Exception):
    """Cores that are never free before the first session; the message says which, and what helps."""


def verified_request(permissions: Mapping[str, Any]) -> str:
    """Return how to ask for the cores by an agent's answer to `permissions`: the first way that helped, empty for none."""
    return next((str(grant["method"]) for grant in permissions["grants"] if grant["verified"]), "")


@dataclass(frozen=True)
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
        """Return the cores of an agent's answer to `quiet`. Raises: ValueError when it names too many or too few."""
        cores = tuple(answer["cores"])
        if len(cores) != threads:
            raise ValueError(
                "the agent broke the protocol in its answer to quiet: cores %s for %d threads"
                % (cores, threads)
            )
        # Where asking is refused, nothing is told of it: then it changes nothing.
        asking = dict(answer["waited"], **answer.get("waited_asking", {}))
        return cls(
            cores=cores,
            taken=most(answer["waited"], cores),
            waited=most(asking, cores),
            quota_cores=answer.get("quota_cores"),
            others_waited=answer.get("others_waited"),
            slowed=answer.get("slowed", 0.0),
        )

    @property
    def is_limited(self) -> bool:
        """Return whether a CPU quota leaves less than these cores: time that it takes is no other program's."""
        return self.quota_cores is not None and self.quota_cores < len(self.cores)

    @property
    def is_busy(self) -> bool:
        """Return whether other programs hold the cores."""
        return not self.is_limited and self.waited is not None and self.waited > FREE_SHARE

    @property
    def trouble(self) -> str:
        """The load of the cores in words."""
        name = "core %s is" if len(self.cores) == 1 else "cores %s are"
        share = 100 * (self.taken or self.waited or 0.0)
        return (name + " busy: another program takes %.0f%% of the time") % (
            ",".join(map(str, self.cores)),
            share,
        )


def most(shares: Mapping[str, float], cores: Sequence[int]) -> float | None:
    """Return the largest share of the cores; None where none is known."""
    return max((shares[str(core)] for core in cores if str(core) in shares), default=None)


class CoreGate:
    """Readiness check for a free core, patient at first; a campaign whose cores never get free is refused before it begins.

    `log` is told of cores that are busy at the start, `on_busy` of each wait. `remedy`: what to do about a busy core.
    """

    def __init__(
        self,
        log: Callable[[str], object],
        on_busy: Callable[[], object],
        clock_s: Callable[[], float],
        remedy: str,
    ) -> None:
        self._log, self._on_busy, self._clock_s, self._remedy = log, on_busy, clock_s, remedy
        self._patience_s = PATIENCE_S
        self._has_begun = False

    def wait(
        self, probe: Callable[[], QuietCores], request: str, pause: Callable[[float], object]
    ) -> tuple[QuietCores, dict[str, Any]]:
        """Return the cores to take, and a record of the probes. request: how the worker asks for them.

        `pause` waits so many seconds; where it returns something true, the device is asked no more.
        Raises: Hopeless when none is free before the first session, within half a minute.
        """
        started_s = self._clock_s()
        waited_s = 0.0
        quiet = probe()
        if not self._has_begun and (quiet.taken or 0.0) > FREE_SHARE:
            self._log(self._situation(quiet, request))
        is_over = False
        while quiet.is_busy and waited_s < self._patience_s and not is_over:
            self._on_busy()
            is_over = bool(pause(POLL_S))
            if not is_over:
                quiet = probe()
                waited_s = self._clock_s() - started_s
        if self._has_begun:
            self._patience_s = max(0.0, self._patience_s - waited_s)
        elif quiet.is_busy and (quiet.waited or 0.0) > HOPELESS_SHARE and not is_over:
            raise Hopeless("%s, and did not stop for %.0f s; %s" % (quiet.trouble, waited_s, self._remedy))
        self._has_begun = True
        found = {
            "cores": list(quiet.cores),
            "taken": quiet.taken,
            "waited": quiet.waited,
            "waited_s": waited_s,
        }
        told = {"others_waited": quiet.others_waited, "slowed": quiet.slowed or None}
        found.update({name: value for name, value in told.items() if value is not None})
        return quiet, found

    def _situation(self, quiet: QuietCores, request: str) -> str:
        """Describe the load of the cores, its consequence and the remedy."""
        if quiet.is_busy:
            return "%s: waiting for it, %.0f s at most; %s" % (quiet.trouble, PATIENCE_S, self._remedy)
        if quiet.quota_cores is not None and quiet.is_limited:
            return (
                "a CPU quota of %g cores holds harness back for %.0f%% of the time; runs that it interrupts do not count, so "
                "that this takes longer: lift the quota" % (quiet.quota_cores, 100 * (quiet.taken or 0.0))
            )
        return (
            "%s, but yields to %s scheduling, which was asked for (then %.0f%%); what still gets in between does not count"
            % (quiet.trouble, request, 100 * (quiet.waited or 0.0))
        )
