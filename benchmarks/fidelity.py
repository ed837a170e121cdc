"""The agent's plain wall medians against the field's own tools, on the same model files, in the same seconds.

    pip install 'harness[benchmarks]'; python benchmarks/fidelity.py [--networks 2] [--pairs 10] [--format onnx] [--core 1]

ONNX: MLPerf LoadGen's single stream over ONNX Runtime. TFLite: the benchmark that ai-edge-litert ships. Each pair is a fresh
process of either side, on the same core with 1 thread and, where the system permits it, in the realtime class; they take turns
of 0.3 s, stopped and continued by signals, so that a drift of the machine meets both.

The tools run one model again and again. The agent alternates two, and the first few runs after a switch find the other's
weights in the caches. So there are two kinds of pairs, in alternation: *slices*, of which ratios are made (2 runs of the
reference, 6 of the network of which the third to the sixth count, 2 of the reference), and *settled*, the runs of the network
alone at a session's end, of which the wall times of `harness measure` are made: one short session after another, each with both
models loaded anew. What the switch adds to each of their runs is printed apart.

What still differs: LoadGen adds some 2 us of its own to each query. ai-edge-litert's benchmark runs LiteRT's CompiledModel, the
agent the interpreter, both over XNNPACK; it prints hundredths of a millisecond, and its load falls into its turns. The same
model differs by 1 to 2 % from one process to the next, by where its memory lies, so that a single pair tells little.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter_ns, sleep
from typing import Any

from campaigns import models_of
from machine import describe_machine, option_parser
from peers import PEERS, Task
from timing import median_interval
from turns import find_worker, take_turns, waited_ns

from device_agents.clean_runs import COLD_RUNS, DISTURBED_SHARE
from exporters import FORMATS, Format, FragmentLibrary
from harness.devices.config import LocalDevice
from harness.devices.connection import Connection
from harness.devices.transports import open_transport
from harness.estimates.clean_runs import SETTLING_RUNS
from harness.measurement.plan import QUICK
from harness.models.exported import cache_folder
from space import Architecture
from space.selection import select_models

RUNNING_S = 1.0  # what the peer times, of its own
STARTS_S = 1.5  # the peer's load and warm-up, which fall into its turns
WARM_UP_S = 1.0
FEWEST_RUNS = 50
SETTLED_RUNS = 48  # of a session: more than users' sessions have, so that the peer's time has room for enough
SHOWN_PLACES = 12
WAITED_SHARE = 0.1  # of the peer's time: the kernel keeps 5 % for ordinary programs, in stalls so long that few runs have one
ATTEMPTS = 12
PAUSE_S = 10.0
NEVER = 100_000  # slices: the agent's sessions end by the clock
MANY_SESSIONS = 1.5  # times those that the peer's time has room for: what comes after it does not count
TARGET = 0.02

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """Which runs of the agent's are compared: those of an event, and how many after the switch do not count."""

    name: str
    event: str
    left_out: int
    plan: Mapping[str, Any]


SLICES = Way(
    name="slices",
    event="slice",
    left_out=COLD_RUNS,
    plan={"warmup_max_s": WARM_UP_S, "min_slices": NEVER, "max_s": 2 * (RUNNING_S + STARTS_S)},
)
SETTLED = Way(
    name="settled",
    event="settled",
    left_out=SETTLING_RUNS,
    plan=asdict(replace(QUICK.plan, settled_runs=SETTLED_RUNS, max_s=0.01)),  # one slice
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What one session of the agent timed, in ns: the runs that count, and those just after a switch by their place."""

    runs_ns: tuple[float, ...]
    after_switch_ns: tuple[tuple[float, ...], ...]

    @property
    def median_ns(self) -> float:
        """Return the median of the runs that count."""
        return median(self.runs_ns)

    @property
    def shares(self) -> tuple[float, ...]:
        """Return how long the 1st, 2nd ... run after a switch takes, in units of the runs that count."""
        return tuple(median(place) / self.median_ns for place in self.after_switch_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The agent and a peer on one model in the same seconds."""

    agent: Timed
    peer_ns: float

    @property
    def ratio(self) -> float:
        """Return the agent's median in units of the peer's."""
        return self.agent.median_ns / self.peer_ns


class Bench:
    """One network on both sides, on one core. `agent` is an open link."""

    def __init__(
        self, network: Architecture, model_format: Format, agent: Connection, folder: Path, core: int
    ) -> None:
        self._network, self._agent, self._peer = str(network), agent, PEERS[model_format]
        source = models_of([str(network)])
        reference, model = (
            source.reference(model_format).assemble(),
            source.models(model_format)[0].assemble(),
        )
        agent.client.send_models([reference, model])
        self._recipe = model.recipe()
        self._job = {
            "reference": reference.recipe(),
            "runtime": self._peer.runtime,
            "options": {},
            "threads": 1,
            "cores": [core],
            "request": "realtime",
        }
        library = FragmentLibrary.open(model_format, cache_dir=cache_folder())
        path = folder / f"{network.index}.{model_format}"
        path.write_bytes(library.assembly(network).whole())  # the bytes that the agent assembles
        self._task = Task(
            model=path, folder=folder, core=core, running_s=RUNNING_S, clock_s=2 * RUNNING_S, expected_ns=1e6
        )
        alone = self._session(SETTLED, 2)
        self._task = replace(self._task, expected_ns=timed(alone, SETTLED).median_ns)
        session_s = max(event["elapsed_s"] for event in alone if event["event"] == "measured")
        self._sessions = {SLICES: 1, SETTLED: ceil(MANY_SESSIONS * (RUNNING_S + STARTS_S) / session_s)}

    def pair(self, way: Way) -> Pair:
        """Run both at once, one of them stopped at any time; the agent's slices beside the peer's time count.

        A pair is taken again when other programs held the core: the peer waited for it, or the agent has few clean runs.
        """
        for _ in range(ATTEMPTS):
            process = self._peer.start(self._task)
            # Its begin and its end: the time, and what the peer has waited until then.
            window: list[tuple[int, int]] = []

            def alternate(peer: int = process.pid, window: list[tuple[int, int]] = window) -> None:
                window.append((perf_counter_ns(), waited_ns(peer)))
                take_turns(peer, find_worker())
                window.append((perf_counter_ns(), waited_ns(peer)))

            thread = threading.Thread(target=alternate)
            try:
                events = self._session(way, self._sessions[way], begin=thread.start)
            finally:
                os.kill(process.pid, signal.SIGCONT)
            thread.join()
            peer_ns = self._peer.finish(process, self._task)
            (begin_ns, waited_before_ns), (end_ns, waited_after_ns) = window
            is_clean = waited_after_ns - waited_before_ns <= WAITED_SHARE * (end_ns - begin_ns) / 2
            beside = [event for event in events if begin_ns <= event.get("at_ns", begin_ns) <= end_ns]
            agent = timed(beside, way)
            if is_clean and len(agent.runs_ns) >= FEWEST_RUNS:
                return Pair(agent=agent, peer_ns=peer_ns)
            sleep(PAUSE_S)
        sys.exit(f"{self._network}: other programs held core {self._task.core} {ATTEMPTS} times; stop them")

    def _session(self, way: Way, sessions: int, begin: Callable[[], None] = lambda: None) -> list[Event]:
        """Let the agent time the network in so many sessions of a fresh worker; `begin` is called when the first one is warm."""
        events: list[Event] = []

        def on_event(event: Event) -> None:
            if event["event"] == "warm" and all(before["event"] != "warm" for before in events):
                begin()
            events.append(event)

        of_way = {"networks": [self._recipe] * sessions, "plan": dict(way.plan), "silence_s": 60.0}
        self._agent.client.run(self._job | of_way, on_event)
        return events


def timed(events: Sequence[Event], way: Way) -> Timed:
    """Return the clean runs of the network in a worker's events."""
    counted: list[float] = []
    places: dict[int, list[float]] = {}
    loops = 1
    for event in events:
        loops = event.get("network_loops", loops)
        for place, run_ns in clean_runs(event) if event["event"] == way.event else ():
            if place >= way.left_out:
                counted.append(run_ns / loops)
            places.setdefault(place, []).append(run_ns / loops)
    return Timed(
        runs_ns=tuple(counted), after_switch_ns=tuple(tuple(places[place]) for place in sorted(places))
    )


def clean_runs(piece: Event) -> list[tuple[int, int]]:
    """Return place after the switch and time in ns of each run of the network in a slice, or of its settled runs.

    Without those that waited for the core (or were stopped) for 1 % of their time, and those just after one.
    """
    is_slice = piece["event"] == "slice"
    runs_ns = [piece["after_switch_ns"], *piece["network_ns"]] if is_slice else piece["network_ns"]
    first = len(piece["reference_before_ns"]) if is_slice else 0
    delays_ns = piece.get("delays_ns", [0] * (first + len(runs_ns)))[first:]
    disturbed = [
        delay_ns > DISTURBED_SHARE * run_ns for run_ns, delay_ns in zip(runs_ns, delays_ns, strict=False)
    ]
    before = [False, *disturbed]
    return [
        (place, run_ns) for place, run_ns in enumerate(runs_ns) if not disturbed[place] and not before[place]
    ]


def main() -> None:
    """Compare the formats and print their tables."""
    parser = option_parser(__doc__)
    parser.add_argument("--networks", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--format", choices=FORMATS, action="append", dest="formats")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    formats: list[Format] = arguments.formats or list(FORMATS)
    for peer in (PEERS[model_format] for model_format in formats):
        if importlib.util.find_spec(peer.package) is None:
            sys.exit(f"{peer.name} is not installed; pip install 'harness[benchmarks]'")
    networks = select_models(f"sample:{arguments.networks}@11")
    print(describe_machine())
    device = LocalDevice(name="local")
    agent = Connection(device, open_transport(device), owner=f"benchmarks/fidelity ({secrets.token_hex(4)})")
    agent.open()
    try:
        for model_format in formats:
            with tempfile.TemporaryDirectory() as name:
                compare(networks, model_format, arguments.pairs, agent, Path(name), arguments.core)
    finally:
        agent.close()
    print(f"\ntarget: the ratios of all networks within {TARGET:.0%} of 1")


def compare(
    networks: Sequence[Architecture],
    model_format: Format,
    count: int,
    agent: Connection,
    folder: Path,
    core: int,
) -> None:
    """Take pairs of each network and way in turn, and print the table of a format."""
    benches = {network: Bench(network, model_format, agent, folder, core) for network in networks}
    pairs: dict[tuple[Way, Architecture], list[Pair]] = {
        (way, network): [] for way in (SLICES, SETTLED) for network in networks
    }
    for _ in range(count):
        for (way, network), taken in pairs.items():
            taken.append(benches[network].pair(way))
    title = f"{model_format}: agent / {PEERS[model_format].name}"
    print(
        f"\n{title:<54}{'runs':<9}{'pairs':>5}{'ratio':>7}{'95 % interval':>17}{'agent ms':>10}{'peer ms':>9}"
    )
    for (way, network), taken in pairs.items():
        print(row(str(network), way, taken))
    for way in (SLICES, SETTLED):
        print(
            row(
                f"all {len(networks)} networks",
                way,
                [pair for network in networks for pair in pairs[way, network]],
            )
        )
    settled = [pair for network in networks for pair in pairs[SETTLED, network]]
    shares = (pair.agent.shares[:SHOWN_PLACES] for pair in settled)
    places = [median(of_place) for of_place in zip(*shares, strict=True)]
    each = ", ".join(f"{place:.3f}" for place in places)
    print(
        f"run 1, 2 ... {len(places)} after a switch / those that count in the same process: {each}",
        flush=True,
    )


def row(label: str, way: Way, pairs: Sequence[Pair]) -> str:
    """Return a line of the table: the median ratio with its 95 % interval by order statistics, and either side's median.

    Below 6 pairs the interval is from the least to the greatest.
    """
    ratio, low, high = median_interval([pair.ratio for pair in pairs])
    interval = f"{low:.3f} to {high:.3f}"
    sides = median(pair.agent.median_ns for pair in pairs), median(pair.peer_ns for pair in pairs)
    figures = f"{len(pairs):>5}{ratio:>7.3f}{interval:>17}{sides[0] / 1e6:>10.2f}{sides[1] / 1e6:>9.2f}"
    return f"{label:<54}{way.name:<9}{figures}"


if __name__ == "__main__":
    main()
