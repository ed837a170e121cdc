"""Build session records from a worker's events, each checked before (harness.devices.answers); here, against each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from device_agents.throttling import MEMORIES
from harness.errors import BadResult, LinkError
from harness.estimates.outputs import REFERENCE_ERROR, error_of
from harness.records import SessionRecord, SettledRuns, Slice

MAX_SLICES = 100_000
MAX_SAMPLES = 10_000
CLOCK_TOLERANCE_NS = 1_000_000  # between two readings of one clock, beside each other
CLOCKS_TOLERANCE_S = 2.0  # between the device's clock and this machine's, and events that arrive in bursts
CLOCKS_SHARE = 0.05
# What the worker knows of its own conditions.
_WORKER = (
    "pinned",
    "waited_s",
    "shares",
    "device_ns",
    "device_absent",
)
_SCHEDULING = (
    *("delay_source", "baseline_ns", "steal_s", "others_busy", "request", "pace_ns", "paced_by"),
    "unseen",
    "core_to_core",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A network that the worker could not measure while it measured others: its number in the job, and why."""

    network: int
    kind: str
    message: str


class SessionBuilder:
    """Collect the events of one worker, and build the record of each network as soon as it is measured.

    `identity` returns, by a network's number in the job, the fields of its record that no event tells. `scheduling` is what is
    known of the measured cores before the worker began. `expected_reference`: the right output of the reference, empty where
    nobody knows it.
    """

    def __init__(
        self,
        networks: int,
        identity: Callable[[int], Mapping[str, Any]],
        now_utc: Callable[[], str],
        *,
        scheduling: Mapping[str, Any],
        clock_s: Callable[[], float] = time.monotonic,
        expected_reference: Sequence[float] = (),
    ) -> None:
        self._expected_reference = expected_reference
        self._networks, self._identity, self._now_utc, self._clock_s = networks, identity, now_utc, clock_s
        self._scheduling = dict(scheduling)
        self._conditions: dict[str, Any] = {}
        self._samples: list[dict[str, Any]] = []
        self._started_s, self._loops_s = clock_s(), 0.0
        self._begin(0)

    @property
    def done(self) -> int:
        """Return of how many networks it is known what came of them."""
        return self._number

    def _begin(self, number: int) -> None:
        """Turn to a network of the job and forget the one before."""
        self._number = number
        self._started_utc = self._now_utc()
        self._reference: Mapping[str, Any] | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._warm: Mapping[str, Any] | None = None
        told = {name: one[name] for one in self._samples for name in MEMORIES if name in one}
        self._conditions = self._conditions | told  # what was so before the next network
        self._slices: list[Slice] = []
        self._settled: SettledRuns | None = None
        self._samples = []

    def add(self, event: Mapping[str, Any]) -> SessionRecord | Refused | None:
        """Take in an event; return what came of a network when it is the last of it.

        Raises: LinkError when it does not follow the protocol, BadResult when its times cannot be.
        """
        kind = event.get("event")
        try:
            if kind == "conditions":
                self._conditions = dict(event["conditions"])
            elif kind == "sample":
                self._add_sample(event)
            elif kind == "loaded" and event["which"] == "reference":
                self._reference = event
            elif kind in ("loaded", "warm", "slice", "settled", "measured", "refused"):
                self._check_number(event["network"])
                return self._add_of_network(kind, event)
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"the agent broke the protocol in event {kind!r}: {error}") from error
        return None

    def _check_number(self, number: int) -> None:
        """Check that networks come in the order of the job, each once."""
        if number != self._number or number >= self._networks:
            raise ValueError(f"network {number!r} where {self._number} of {self._networks} is due")

    def _add_of_network(self, kind: str, event: Mapping[str, Any]) -> SessionRecord | Refused | None:
        if kind == "loaded":
            self._loaded = event
        elif kind == "warm":
            self._warm = event
        elif kind == "slice":
            self._add_slice(event)
        elif kind == "settled":
            self._add_settled(event)
        elif kind == "refused":
            failure = event["failure"]
            refused = Refused(network=event["network"], kind=failure["kind"], message=failure["message"])
            self._begin(self._number + 1)
            return refused
        else:
            record = self._build(event)
            self._begin(self._number + 1)
            return record
        return None

    def _add_sample(self, event: Mapping[str, Any]) -> None:
        if len(self._samples) >= MAX_SAMPLES:
            raise ValueError(f"more than {MAX_SAMPLES} samples of conditions")
        self._samples.append({k: v for k, v in event.items() if k != "event"})

    def _add_slice(self, event: Mapping[str, Any]) -> None:
        if len(self._slices) >= MAX_SLICES or event["index"] != len(self._slices) or self._settled:
            raise ValueError(f"slice {event['index']} after {len(self._slices)} slices")
        self._slices.append(Slice(**_times_of(event)))

    def _add_settled(self, event: Mapping[str, Any]) -> None:
        if self._settled is not None or not self._slices:
            raise ValueError("a network runs alone once, after its slices")
        self._settled = SettledRuns(**_times_of(event))

    def _build(self, measured: Mapping[str, Any]) -> SessionRecord:
        """Return the record. Raises: LinkError when the agent left something out, BadResult for times that cannot be."""
        network, reference, warm = self._loaded, self._reference, self._warm
        if network is None or reference is None or warm is None:
            raise ValueError("a network is measured before it and the reference are loaded and warm")
        if measured["slices"] != len(self._slices):
            raise ValueError(f"{measured['slices']} slices announced, {len(self._slices)} arrived")
        loop_s, elapsed_s = measured["loop_s"], measured["elapsed_s"]
        self._check_times(loop_s, elapsed_s)
        return SessionRecord(
            started_utc=self._started_utc,
            elapsed_s=elapsed_s,
            loop_s=loop_s,
            stop=measured["stop"],
            load_ns=network["load_ns"],
            first_run_ns=network["first_run_ns"],
            reference_load_ns=reference["load_ns"],
            reference_first_run_ns=reference["first_run_ns"],
            network_loops=warm["network_loops"],
            reference_loops=warm["reference_loops"],
            warmup_network_ns=tuple(warm["network_ns"]),
            warmup_reference_ns=tuple(warm["reference_ns"]),
            slices=tuple(self._slices),
            settled=self._settled,
            conditions_before=self._conditions,
            conditions_after={k: measured[k] for k in _WORKER if k in measured}
            | self._reference_error(measured)
            | {
                name: told["model_bytes"]
                for name, told in (("model_bytes", network), ("reference_bytes", reference))
                if "model_bytes" in told
            },
            output=tuple(measured["output"]),
            arithmetic=measured.get("arithmetic", "unknown"),
            samples=tuple(self._samples),
            scheduling=self._scheduling
            | {"cores": measured["cores"]}
            | {k: measured[k] for k in _SCHEDULING if k in measured},
            **self._identity(measured["network"]),
        )

    def _reference_error(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        """Return how far the reference's output is off the expected one; nothing where it is not judged."""
        if "reference_output" not in measured:  # of an agent of before
            return {}
        error = error_of(measured["reference_output"], self._expected_reference)
        return {} if error is None else {REFERENCE_ERROR: error}

    def _check_times(self, loop_s: float, elapsed_s: float) -> None:
        """Check that runs, slices, loop and elapsed time fit into each other, and into what passed on this machine.

        Raises: BadResult.
        """
        pieces: list[Slice | SettledRuns] = [*self._slices, *([self._settled] if self._settled else [])]
        runs_s = sum(sum(piece.runs_ns) for piece in pieces) / 1e9
        self._loops_s += loop_s
        passed_s = self._clock_s() - self._started_s
        for what, least_s, most_s in (
            ("its slices", runs_s, loop_s + CLOCK_TOLERANCE_NS / 1e9),
            ("its timing loop", loop_s, elapsed_s + CLOCK_TOLERANCE_NS / 1e9),
            ("all timing loops", self._loops_s, passed_s * (1 + CLOCKS_SHARE) + CLOCKS_TOLERANCE_S),
        ):
            if least_s > most_s:
                raise BadResult(
                    f"the device says that {what} took {least_s:.6g} s, of {most_s:.6g} s in which they lie; "
                    "its clock or its agent is broken"
                )
        for before, after in pairwise(pieces):
            end_ns = (before.at_ns or 0) + sum(before.runs_ns)
            if end_ns > (after.at_ns or 0) + CLOCK_TOLERANCE_NS:
                raise BadResult(
                    f"the device says that a slice ended at {end_ns} ns, after the next one began at {after.at_ns} ns; "
                    "its clock or its agent is broken"
                )


def _times_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the times in ns that an event tells, as records hold them."""
    return {
        name: tuple(times) if isinstance(times, list) else times
        for name, times in event.items()
        if name.endswith("_ns")
    }
