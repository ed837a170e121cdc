"""Verify a search: measure the finalists on their devices at level final, and correct the answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TypeVar

from harness.devices.config import Device, load_devices
from harness.measurement.campaign import Outcome
from harness.measurement.campaigns import measure_finalists
from harness.models.exported import ExportedModels, ExportObserver
from harness.prediction.provenance import Provenance
from harness.query.answer import SearchAnswer
from harness.query.by_objective import ObjectiveAnswer
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import configuration_id, short_description
from search.table.constraints import FRESH, LATENCY_UNIT, amount_text, split_subject
from space import Architecture
from space.errors import ConfigError
from space.hash_table import network_key
from space.text import counted

MAX_ROUNDS = 5  # of K networks each; by then a fair predictor has learned what it had missed

AnyAnswer = TypeVar("AnyAnswer", SearchAnswer, ObjectiveAnswer)


def verify_finalists(
    answer: AnyAnswer,
    search_again: Callable[[], AnyAnswer],
    store: Store,
    devices: Mapping[str, Device],
    observer: ExportObserver,
    *,
    count: int,
    wait_s: float = 0.0,
    log: Callable[[str], None],
) -> tuple[AnyAnswer, tuple[Outcome, ...]]:
    """Measure the `count` best networks at level final on every device of the search, and search again.

    Returns the answer with measured latencies, and the outcomes of the campaigns.
    A network measured may turn out to be beyond a limit, or the predictor, now knowing more, may bring up others: so this is
    repeated until the `count` best ones are all measured, five times at most; one that failed is left out, and one that came out
    with grade D is not tried again.
    `search_again` joins what is stored by then; `devices`: see `searched_devices`; `wait_s`: see `run_all`.
    """
    configurations = searched_configurations(answer.provenance)
    options = {FRESH[fresh].option for name in configurations if (fresh := split_subject(name)[1])}
    config = answer.config
    verified = frozenset[int]()
    outcomes: tuple[Outcome, ...] = ()
    # Measured, well or not: what grade D leaves out is not measured for ever.
    tried = frozenset[int | bytes]()
    for _ in range(MAX_ROUNDS):
        finalists = [i for i in answer.within[:count] if network_key(config, i) not in tried]
        if not finalists:
            break
        log(f"measuring {counted(len(finalists), 'finalist')} on {', '.join(configurations)}")
        networks = [Architecture.from_index(index, config) for index in finalists]
        source = ExportedModels(networks, on_progress=observer.export, config=config)
        done = measure_finalists(
            configurations.values(),
            devices,
            source,
            store,
            observer,
            wait_s=wait_s,
            memory="--memory" in options,
            energy="--energy" in options,
        )
        if moved := other_configuration(done, configurations.values()):
            raise ConfigError(moved)
        outcomes += tuple(done)
        before, answer = answer, search_again()
        tried |= {network_key(config, index) for index in finalists}
        verified |= measured_everywhere(answer, configurations, finalists)
        _report(before, answer, finalists, verified, log)
        if any(outcome.error is not None for outcome in outcomes):
            break
    return replace(answer, verified=verified), outcomes


def other_configuration(outcomes: Iterable[Outcome], searched: Collection[Configuration]) -> str:
    """Return that a device measured under another configuration than was searched, as of a newer runtime, else nothing."""
    for now in (use.configuration for outcome in outcomes for use in outcome.uses):
        if now not in searched:
            return (
                f"device {now.device!r} measures under another configuration now than was searched: {short_description(now)} "
                f"[{configuration_id(now)}]; what was measured is stored under it: measure enough there, and search that"
            )
    return ""


def searched_configurations(provenance: Mapping[str, Provenance]) -> dict[str, Configuration]:
    """Return the store's configurations that a search is about, by the name of their cost."""
    return {name: one.configuration for name, one in provenance.items() if one.configuration is not None}


def searched_devices(
    configurations: Iterable[Configuration], devices_file: str | Path | None
) -> dict[str, Device]:
    """Return the devices of configurations, by name, to measure finalists on.

    Raises: ConfigError when there is none, or one is not in devices.toml.
    """
    names = list(dict.fromkeys(c.device for c in configurations))
    if not names:
        raise ConfigError(
            "--verify measures on devices, and no device of the store is searched; name one with --device"
        )
    known = load_devices(devices_file)
    return {name: known[name] for name in names}


def measured_everywhere(
    found: SearchAnswer | ObjectiveAnswer, configurations: Mapping[str, Configuration], indices: list[int]
) -> frozenset[int]:
    """Return the networks that are measured, not predicted, on all devices of the search."""
    return frozenset(
        index for index in indices if all(found.costs[name].at(index).is_measured for name in configurations)
    )


def _amount(value: float, unit: str) -> str:
    return f"{value:.3f} ms" if unit == LATENCY_UNIT else amount_text(value, unit, digits=4)


def _report(
    before: SearchAnswer | ObjectiveAnswer,
    answer: SearchAnswer | ObjectiveAnswer,
    finalists: list[int],
    verified: frozenset[int],
    log: Callable[[str], None],
) -> None:
    """Log of each finalist its latencies before, those measured, and whether it is within the limits."""
    for index in finalists:
        if index not in verified:
            has_failed = any(isnan(cost.at(index).value) for cost in answer.costs.values())
            why = (
                "failed, and is left out" if has_failed else "grade D is left out, and its latency predicted"
            )
            log(f"{Architecture.from_index(index, answer.config)}: not measured well enough: {why}")
            continue
        parts = []
        for name, cost in answer.costs.items():
            if not cost.is_latency:
                continue
            now, earlier = cost.at(index), before.costs[name].at(index)
            said = "measured" if earlier.is_measured else "predicted"
            change = (
                f"{said} {_amount(earlier.value, cost.unit)} before ({now.value / earlier.value - 1:+.1%})"
            )
            parts.append(
                f"{name} {_amount(now.value, cost.unit)}, {'not known before' if isnan(earlier.value) else change}"
            )
        verdict = "within the limits" if answer.is_within(index) else "beyond the limits, dropped"
        log(f"{Architecture.from_index(index, answer.config)}: {', '.join(parts)}: {verdict}")
