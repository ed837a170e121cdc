"""Where a network's time goes, node by node, by the runtime's own profiler; in a worker of its own.

A profiler costs time itself, so the same network stands in the process once more without one. The two take turns,
as reference and network do in a session, and the first run of a turn, which finds cold caches, counts for neither.

Medians are of the quietest quarter of the runs. On a machine that does other things a run is held up somewhere, each
time in another node: the sum of the nodes' medians over all runs would be far below the median of the whole runs. How many
even of the quietest waited for a core is told.
"""

from __future__ import annotations

import gc
import resource
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any, Callable, Iterable, Sequence

from device_agents.clean_runs import DISTURBED_SHARE, baseline_ns
from device_agents.jobs import ModelRecipe
from device_agents.models import assemble, given_inputs
from device_agents.outputs import Outputs, finite_output
from device_agents.pacing import Plan
from device_agents.refusal import Refusal
from device_agents.run_delay import RunDelay
from device_agents.runtimes import PROFILED, is_one_thread, load, start_or_refuse
from device_agents.runtimes.loaded import NodeTime
from device_agents.sampling import Sample, Stopwatch, sample_ns, sample_runs
from device_agents.warmup import Warming

TURN_RUNS = 5
QUIET_SHARE = 4
FIRST_RUNS = 3  # with the profiler: a node's first runs allocate
FILE_LIMIT_BYTES = 256 << 20
NODES_LIMIT = 4000  # an answer's header holds some 7000
PLAN = Plan(min_sample_ns=1)  # a run is a run here, and is never looped


def profile_network(message: dict[str, Any], reporter: Any) -> dict[str, Any]:
    """Do one profile job; return what the worker knows of it. Raises: Refusal, and what the runtime raises.

    reporter: takes phases and signs of life, as worker.Reporter does.
    """
    job = message["job"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, FILE_LIMIT_BYTES))
    reporter.enter("load")
    start_or_refuse(job["runtime"])
    recipe, parts_dir = ModelRecipe(**job["network"]), Path(message["parts_dir"])
    model, inputs = assemble(recipe, parts_dir), given_inputs(recipe, parts_dir)
    plain = load(job["runtime"], model, job["threads"], job["options"], inputs)
    plain.run()
    outputs = Outputs(plain)
    profiled, end_profile = PROFILED[job["runtime"]].load_profiled(
        model, job["threads"], job["options"], Path(message["temp_dir"]), inputs
    )
    del model

    reporter.enter("warm-up")
    gc.collect()
    gc.disable()
    stopwatch = Stopwatch(RunDelay(is_one_thread(job)))
    warming = Warming(plain.run, PLAN, stopwatch)
    start_ns = perf_counter_ns()
    while not warming.is_warm:
        warming.take_turn(TURN_RUNS, start_ns, perf_counter_ns, reporter.pulse)
    for _ in range(FIRST_RUNS):
        sample_ns(profiled.run, 1)
        reporter.pulse(perf_counter_ns())

    reporter.enter("runs")
    plain_runs: list[Sample] = []
    wall_runs: list[Sample] = []
    counted = [False] * FIRST_RUNS
    while len(wall_runs) < job["runs"]:
        count = min(TURN_RUNS, job["runs"] - len(wall_runs))
        plain_runs += take_turn(plain.run, count, reporter.pulse, stopwatch)
        wall_runs += take_turn(profiled.run, count, reporter.pulse, stopwatch)
        counted += [False] + [True] * count
    outputs.check()
    profiled_output = finite_output(profiled)  # without other inputs, whose runs would be in the profile
    reporter.enter("read the profile")
    base_ns = 0 if is_one_thread(job) else baseline_ns(warming.delays_ns, min(warming.samples_ns))
    (quiet, waited), (plain_quiet, plain_waited) = (
        quiet_runs(runs, base_ns) for runs in (wall_runs, plain_runs)
    )
    nodes = total_nodes(pulsed(end_profile(), reporter.pulse), counted, quiet)
    told = {"disturbed_runs": max(waited, plain_waited)} if stopwatch.is_informed else {}
    return {
        **told,
        "runtime": profiled.runtime,
        "output": outputs.first,
        "profiled_output": profiled_output,
        "threads": job["threads"],
        "cores": message["cores"],
        "runs": job["runs"],
        "quiet_runs": len(quiet),
        "wall_median_ns": int(median(wall_runs[index].run_ns for index in quiet)),
        "plain_median_ns": int(median(plain_runs[index].run_ns for index in plain_quiet)),
        "nodes": nodes,
    }


def take_turn(
    run: Callable[[], object], count: int, pulse: Callable[[int], None], stopwatch: Stopwatch
) -> list[Sample]:
    """Time `count` runs after one that does not count."""
    return sample_runs(run, count + 1, 1, pulse, stopwatch)[1:]


def quiet_runs(runs: Sequence[Sample], base_ns: int) -> tuple[set[int], int]:
    """Return the numbers of the quietest runs, and how many of them were disturbed all the same."""
    disturbed = are_disturbed(runs, base_ns)
    quiet = quietest([run.run_ns for run in runs], disturbed)
    return quiet, sum(disturbed[index] for index in quiet)


def are_disturbed(runs: Sequence[Sample], base_ns: int) -> list[bool]:
    """Return which runs waited for a core for more than 1 % of their time beyond the wait of a free machine."""
    return [run.delay_ns - base_ns > DISTURBED_SHARE * run.run_ns for run in runs]


def pulsed(runs: Iterable[list[NodeTime]], pulse: Callable[[int], None]) -> Iterable[list[NodeTime]]:
    """Give a sign of life for each run that is read."""
    for run in runs:
        pulse(perf_counter_ns())
        yield run


def quietest(times_ns: Sequence[int], disturbed: Sequence[bool]) -> set[int]:
    """Return the numbers of a quarter of the runs, at least one: the shortest that were not disturbed, then of the others."""
    ordered = sorted(range(len(times_ns)), key=lambda index: (disturbed[index], times_ns[index]))
    return set(ordered[: max(1, len(times_ns) // QUIET_SHARE)])


def total_nodes(runs: Iterable[list[NodeTime]], counted: list[bool], quiet: set[int]) -> list[dict[str, Any]]:
    """Return the totals of each node over the runs that count, in the order in which the nodes first ran.

    quiet: the numbers, among the runs that count, of those that the medians are of; a node that ran in none of them has 0.
    Raises: Refusal when the profile holds other runs than were made, or too many nodes for an answer.
    """
    times_ns: dict[tuple[str, str, str], dict[int, int]] = {}
    found = 0
    for run in runs:
        if found < len(counted) and counted[found]:
            number = sum(counted[:found])
            for name, op, provider, taken_ns in run:
                of_runs = times_ns.setdefault((name, op, provider), {})
                of_runs[number] = of_runs.get(number, 0) + taken_ns
        found += 1
    if found != len(counted):
        raise Refusal(
            "worker-error",
            "the profile holds %d runs, not %d; it is at most %d MiB long, and the device may be full: ask for fewer runs"
            % (found, len(counted), FILE_LIMIT_BYTES >> 20),
        )
    if not 0 < len(times_ns) <= NODES_LIMIT:
        raise Refusal(
            "worker-error",
            "the profile tells of %d nodes; 1 to %d can be answered" % (len(times_ns), NODES_LIMIT),
        )
    return [
        {
            "name": name,
            "op": op,
            "provider": provider,
            "runs": len(of_runs),
            "total_ns": sum(of_runs.values()),
            "median_ns": int(median([of_runs[number] for number in quiet if number in of_runs] or [0])),
        }
        for (name, op, provider), of_runs in times_ns.items()
    ]
