"""From an agent's events to a session record; the agent is foreign, so each field is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import LinkError
from harness.records import SessionRecord, Slice

MAX_SLICES = 100_000
MAX_SAMPLES = 10_000
_ENVELOPE = ("type", "event", "id")
_WORKER = ("pinned", "waited_s")  # what the worker knows of its own conditions


class SessionBuilder:
    """Collect the events of one run and build the record when the run ended well."""

    def __init__(self, *, started_utc: str) -> None:
        self._started_utc = started_utc
        self._loaded: dict[str, Mapping[str, Any]] = {}
        self._warm: Mapping[str, Any] | None = None
        self._slices: list[Slice] = []
        self._samples: list[dict[str, Any]] = []

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in an event. Raises: LinkError when it does not follow the protocol."""
        kind = event.get("event")
        try:
            if kind == "loaded":
                self._loaded[str(event["which"])] = event
            elif kind == "warm":
                self._warm = event
            elif kind == "slice":
                if len(self._slices) >= MAX_SLICES or event["index"] != len(self._slices):
                    raise ValueError(f"slice {event['index']} after {len(self._slices)} slices")
                self._slices.append(
                    Slice(
                        reference_before_ns=tuple(event["reference_before_ns"]),
                        after_switch_ns=event["after_switch_ns"],
                        network_ns=tuple(event["network_ns"]),
                        reference_after_ns=tuple(event["reference_after_ns"]),
                        at_ns=_positive(event["at_ns"]),
                    )
                )
            elif kind == "sample":
                if len(self._samples) >= MAX_SAMPLES:
                    raise ValueError(f"more than {MAX_SAMPLES} samples of conditions")
                _positive(event["at_ns"])
                self._samples.append({k: v for k, v in event.items() if k not in _ENVELOPE})
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"the agent broke the protocol in event {kind!r}: {error}") from error

    def build(self, summary: Mapping[str, Any], **identity: Any) -> SessionRecord:
        """Return the record. Raises: LinkError when the agent left something out."""
        try:
            network, reference, warm = self._loaded["network"], self._loaded["reference"], self._warm
            if warm is None:
                raise ValueError("no event 'warm'")
            if summary["slices"] != len(self._slices):
                raise ValueError(f"{summary['slices']} slices announced, {len(self._slices)} arrived")
            return SessionRecord(
                started_utc=self._started_utc,
                elapsed_s=_seconds(summary["elapsed_s"]),
                loop_s=_seconds(summary["loop_s"]),
                stop=str(summary["stop"]),
                load_ns=_positive(network["load_ns"]),
                first_run_ns=_positive(network["first_run_ns"]),
                reference_load_ns=_positive(reference["load_ns"]),
                reference_first_run_ns=_positive(reference["first_run_ns"]),
                network_loops=_positive(warm["network_loops"]),
                reference_loops=_positive(warm["reference_loops"]),
                warmup_network_ns=tuple(_positive(ns) for ns in warm["network_ns"]),
                warmup_reference_ns=tuple(_positive(ns) for ns in warm["reference_ns"]),
                slices=tuple(self._slices),
                conditions_before=dict(summary["conditions_before"]),
                conditions_after=dict(summary["conditions_after"])
                | {k: summary[k] for k in _WORKER if k in summary},
                output=tuple(float(value) for value in summary["output"]),
                samples=tuple(self._samples),
                **identity,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"the agent broke the protocol: session lacks or garbles {error}") from error


def _positive(value: Any) -> int:
    if type(value) is not int or not 0 < value < 1 << 63:
        raise ValueError(f"{value!r} where a positive 64-bit integer belongs")
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e9:
        raise ValueError(f"{value!r} where a time in seconds belongs")
    return float(value)
