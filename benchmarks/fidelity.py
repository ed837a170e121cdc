"""The agent's plain wall medians against the field's own tools, on the same model files, in the same run.

    pip install 'harness[benchmarks]'; python benchmarks/fidelity.py [--networks 3] [--pairs 10] [--format onnx]

ONNX: MLPerf LoadGen's single stream over ONNX Runtime. TFLite: the benchmark that ai-edge-litert ships. Each side reports its
own median over a fresh process on the same core, with 1 thread, a fixed input and a warm-up; ours is of the runs of a
session, those just after a switch to the reference left out. A machine's speed drifts, so each pair is taken twice: one
after the other, and in the same seconds, where both take turns of 0.3 s on the core, stopped and continued by signals.

What still differs: our runs alternate with the reference network, 6 at a time. LoadGen adds its bookkeeping and a call from
C++ to Python to each query. ai-edge-litert's benchmark runs LiteRT's CompiledModel, the agent the interpreter, both over
XNNPACK; it prints hundredths of a millisecond. Warm-ups are 50 runs there, and until the times converge, at most 1 s, here.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from time import perf_counter_ns, sleep

from campaigns import run
from machine import describe_machine
from peers import PEERS, Task
from turns import find_worker, take_turns

from device_agents.stopping import median_interval_rank
from exporters import FORMATS, Format, FragmentLibrary, link
from harness.campaign import Options
from harness.commands.sources import cache_folder
from harness.levels import SCREEN
from harness.records import SessionRecord, Slice
from harness.store import Store
from space import Architecture
from space.sampling import select_models

RUNNING_S = 2.0  # what either side times in one turn
WARM_UP_S = 1.0  # at most; in a session that is stopped every other moment it would not converge
LEAD_S = 1.0  # the agent is timing for so long when the peer begins
ATTEMPTS = 3
NEVER = 100_000  # slices: sessions end by the clock, so that both sides time equally long
TARGET = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Medians of the agent and of a peer on one model, in ns; `after_switch_ns` of the agent's runs after the reference."""

    agent_ns: float
    peer_ns: float
    after_switch_ns: float


class Bench:
    """One network on both sides."""

    def __init__(self, network: Architecture, model_format: Format, store: Store, folder: Path) -> None:
        self._network, self._format, self._store = str(network), model_format, store
        self._peer = PEERS[model_format]
        library = FragmentLibrary.open(model_format, cache_dir=cache_folder())
        model = folder / f"{network.index}.{model_format}"
        model.write_bytes(link(library.recipe(network), library.part))  # the bytes that the agent assembles
        trial = self._session(RUNNING_S)
        timed_s = (trial.slices[-1].at_ns - trial.slices[0].at_ns) / 1e9  # type: ignore[operator]
        self._start_s = trial.elapsed_s - timed_s  # the worker's start, loads and warm-up
        self._task = Task(
            model=model,
            folder=folder,
            core=trial.configuration.cores[0],
            running_s=RUNNING_S,
            clock_s=RUNNING_S,
            expected_ns=median(runs_ns(trial, trial.slices)),
        )

    def one_after_the_other(self, agent_first: bool) -> Pair:
        """Run a session of the agent and the peer, each alone."""
        session = self._session(RUNNING_S) if agent_first else None
        process = self._peer.start(self._task)
        os.kill(process.pid, signal.SIGCONT)
        peer_ns = self._peer.finish(process, self._task)
        session = session or self._session(RUNNING_S)
        return to_pair(session, session.slices, peer_ns)

    def in_the_same_seconds(self) -> Pair:
        """Run both at once, one of them stopped at any time; the agent's slices beside the peer's time count.

        A pair is taken again when the agent began so late that few of its slices do.
        """
        for _ in range(ATTEMPTS):
            task = replace(self._task, clock_s=2 * RUNNING_S)
            process = self._peer.start(task)
            window_ns: list[int] = []
            thread = threading.Thread(target=self._alternate, args=(process.pid, window_ns))
            thread.start()
            session = self._session(LEAD_S + 3 * RUNNING_S)
            thread.join()
            peer_ns = self._peer.finish(process, task)
            begin_ns, end_ns = window_ns
            slices = [piece for piece in session.slices if begin_ns <= (piece.at_ns or 0) <= end_ns]
            if len(slices) >= SCREEN.plan.min_slices // 2:
                return to_pair(session, slices, peer_ns)
        sys.exit(
            f"{self._network}: agent and {self._peer.name} were never timed in the same seconds; use a quieter machine"
        )

    def _alternate(self, peer: int, window_ns: list[int]) -> None:
        """Let the worker of a session get to its slices, then peer and worker take turns; note from when to when."""
        worker = find_worker()
        sleep(self._start_s + LEAD_S)
        window_ns.append(perf_counter_ns())
        take_turns(peer, worker)
        window_ns.append(perf_counter_ns())

    def _session(self, max_s: float) -> SessionRecord:
        """Measure one more session of the network, `max_s` by the clock."""
        plan = replace(SCREEN.plan, max_s=max_s, min_slices=NEVER, warmup_max_s=WARM_UP_S)
        options = Options(
            formats=(self._format,), threads=1, level=replace(SCREEN, sessions=1, plan=plan), fresh=True
        )
        outcome = run([self._network], self._store, options)
        (use,) = outcome.uses
        sessions = self._store.sessions(use.configuration, [model.graph_hash for model in use.models])
        return [session for session in sessions if session.campaign_id == outcome.campaign_id][-1]


def to_pair(session: SessionRecord, slices: Sequence[Slice], peer_ns: float) -> Pair:
    """Return the medians of some slices beside the peer's."""
    return Pair(
        agent_ns=median(runs_ns(session, slices)),
        peer_ns=peer_ns,
        after_switch_ns=median(piece.after_switch_ns / session.network_loops for piece in slices),
    )


def runs_ns(session: SessionRecord, slices: Sequence[Slice]) -> list[float]:
    """Return the time of each run of the network but the first of each slice."""
    return [ns / session.network_loops for piece in slices for ns in piece.network_ns]


def main() -> None:
    """Compare the formats and print their tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--format", choices=FORMATS, action="append", dest="formats")
    arguments = parser.parse_args()
    formats: list[Format] = arguments.formats or list(FORMATS)
    for peer in (PEERS[model_format] for model_format in formats):
        if importlib.util.find_spec(peer.package) is None:
            sys.exit(f"{peer.name} is not installed; pip install 'harness[benchmarks]'")
    networks = select_models(f"sample:{arguments.networks}@11")
    print(describe_machine())
    for model_format in formats:
        with tempfile.TemporaryDirectory() as name:
            compare(networks, model_format, arguments.pairs, Path(name))
    print(
        f"\n+-: relative standard deviation between a side's turns; target: ratios within {TARGET:.0%} of 1"
    )


def compare(networks: Sequence[Architecture], model_format: Format, count: int, folder: Path) -> None:
    """Take pairs, who begins alternating, and print the table of a format."""
    store = Store(str(folder / "fidelity.sqlite"))
    everything: dict[str, list[Pair]] = {"in turns": [], "same seconds": []}
    title = f"{model_format}: agent / {PEERS[model_format].name}"
    columns = (
        f"{'pairs':<14}{'ratio':>7}{'95 % interval':>17}{'agent ms':>10}{'+-':>7}{'peer ms':>9}{'+-':>7}"
    )
    print(f"\n{title:<54}{columns}")
    for network in networks:
        bench = Bench(network, model_format, store, folder)
        pairs: dict[str, list[Pair]] = {how: [] for how in everything}
        for number in range(count):
            pairs["in turns"].append(bench.one_after_the_other(number % 2 == 0))
            pairs["same seconds"].append(bench.in_the_same_seconds())
        for how, taken in pairs.items():
            everything[how] += taken
            print(row(str(network), how, taken) + sides(taken), flush=True)
    for how, taken in everything.items():
        print(row(f"all {len(networks)} networks", how, taken))
    switches = [pair.after_switch_ns / pair.agent_ns for taken in everything.values() for pair in taken]
    print(f"{'our run after a switch / the runs that follow':<54}{'all':<14}{median(switches):>7.3f}")
    store.close()


def row(label: str, how: str, pairs: Sequence[Pair]) -> str:
    """Return a line of the table: the median ratio and its 95 % interval by order statistics, the extremes below 6 pairs."""
    ratios = sorted(pair.agent_ns / pair.peer_ns for pair in pairs)
    rank = median_interval_rank(len(ratios)) or 1
    interval = f"{ratios[rank - 1]:.3f} to {ratios[-rank]:.3f}"
    return f"{label:<54}{how:<14}{median(ratios):>7.3f}{interval:>17}"


def sides(pairs: Sequence[Pair]) -> str:
    """Return the rest of a line: the median of each side's turns in ms, and how much they differ between turns."""
    agent_ns, peer_ns = [pair.agent_ns for pair in pairs], [pair.peer_ns for pair in pairs]
    return f"{median(agent_ns) / 1e6:>10.2f}{spread(agent_ns):>7.1%}{median(peer_ns) / 1e6:>9.2f}{spread(peer_ns):>7.1%}"


def spread(values: Sequence[float]) -> float:
    """Return the relative standard deviation, 0 of a single value."""
    return stdev(values) / mean(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
