"""`harness search --verify K`: measure the finalists on their devices, and answer anew from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.devices import short_provider
from harness.records import Configuration
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.campaign import Options
    from harness.commands.joining import Joined
    from harness.commands.selection import Selection
    from search.answers import Answer

MAX_ROUNDS = 5  # of K networks each; by then a fair predictor has learned what it had missed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verified:
    """The answer after measuring: `verified` are the networks measured, by index; `status` is the campaigns' exit status."""

    joined: Joined
    answer: Answer
    verified: frozenset[int]
    status: int


def verify_finalists(
    selection: Selection,
    joined: Joined,
    solve: Callable[[Joined], Answer],
    *,
    count: int,
    devices_file: Path | None,
    store_url: str,
    quiet: bool,
    say: Callable[[str], None],
) -> Verified:
    """Measure the `count` most accurate networks at level final on every device of the search, and solve again.

    A network measured may turn out to be beyond a limit, or the predictor, now knowing more, may bring up others: so this is
    repeated until the `count` best ones are all measured, five times at most; one that came out with grade D is not tried again.
    Raises: ConfigError when the search has no latency of the store, or a device is not in devices.toml.
    """
    from harness.commands.campaigns import run_all, summarise
    from harness.commands.progress import ProgressView
    from harness.devices import load_devices, select_device
    from harness.models.exported import ExportedModels
    from harness.store.opening import open_store
    from space import Architecture

    configurations = {n: b.configuration for n, b in joined.behind.items() if b.configuration is not None}
    if not configurations:
        raise ConfigError(
            "--verify measures on devices, and no device of the store is searched; name one with --device"
        )
    known = load_devices(devices_file)
    devices = {c.device: select_device(known, c.device) for c in configurations.values()}
    answer, verified, status = solve(joined), frozenset[int](), 0
    tried = frozenset[int]()  # measured, well or not: what grade D leaves out is not measured for ever
    for _ in range(MAX_ROUNDS):
        finalists = [i for i in answer.ranked[:count].tolist() if i not in tried]
        if not finalists:
            break
        say(f"measuring {len(finalists)} finalists on {', '.join(configurations)}")
        networks = [Architecture.from_index(index, joined.table.config) for index in finalists]
        store = open_store(store_url)
        try:
            with ProgressView(quiet=quiet) as view:
                source = ExportedModels(networks, progress=view.export)
                outcomes = [
                    outcome
                    for turn in turns(configurations.values())
                    for outcome in run_all(
                        [(devices[c.device], final_options(c)) for c in turn], source, store, view, None
                    )
                ]
            for outcome in outcomes:
                status = max(status, summarise(outcome))
        finally:
            store.close()
        before = joined
        joined = selection.join(store_url, lambda text: None)
        answer = solve(joined)
        tried |= frozenset(finalists)
        verified |= measured_everywhere(joined, configurations, finalists)
        _report(before, joined, answer, finalists, verified, say)
        if status:
            break
    return Verified(joined=joined, answer=answer, verified=verified, status=status)


def final_options(configuration: Configuration) -> Options:
    """Return the options that measure under a configuration at level final."""
    from harness.campaign import Options
    from harness.levels import LEVELS

    c = configuration
    return Options(
        runtimes=(f"{c.runtime}:{short_provider(c.provider)}",),
        threads=c.threads,
        cores=c.cores,
        level=LEVELS["final"],
    )


def turns(configurations: Iterable[Configuration]) -> list[list[Configuration]]:
    """Deal configurations, each once, into turns with one of a device at most: devices run at once, one campaign each."""
    dealt: list[list[Configuration]] = []
    for one in dict.fromkeys(configurations):
        for turn in dealt:
            if all(other.device != one.device for other in turn):
                turn.append(one)
                break
        else:
            dealt.append([one])
    return dealt


def measured_everywhere(
    joined: Joined, configurations: Mapping[str, Configuration], indices: list[int]
) -> frozenset[int]:
    """Return which networks are measured, not predicted, on all devices of the search."""
    found = np.ones(len(joined.table.config), dtype=np.bool_)
    for name in configurations:
        measured = joined.table.costs[name].measured
        if measured is not None:
            found &= measured
    return frozenset(index for index in indices if found[index])


def _report(
    before: Joined,
    after: Joined,
    answer: Answer,
    finalists: list[int],
    verified: frozenset[int],
    say: Callable[[str], None],
) -> None:
    """Say of each finalist what was thought of it and what was measured."""
    from space import Architecture

    within = set(answer.ranked.tolist())
    for index in finalists:
        if index not in verified:
            network = Architecture.from_index(index, after.table.config)
            say(
                f"{network}: not measured well enough: what failed or has grade D is left out, and its latency predicted"
            )
            continue
        parts = []
        for name, cost in after.table.costs.items():
            earlier = before.table.costs[name]
            if cost.measured is None or earlier.measured is None:
                continue
            said = "measured" if earlier.measured[index] else "predicted"
            parts.append(
                f"{name} {cost.values[index]:.3f} ms, {said} {earlier.values[index]:.3f} before "
                f"({cost.values[index] / earlier.values[index] - 1:+.1%})"
            )
        verdict = "within the limits" if index in within else "beyond the limits, dropped"
        say(f"{Architecture.from_index(index, after.table.config)}: {', '.join(parts)}: {verdict}")
