"""Does LiteRT's compiled model, driven by ctypes, take the time of TFLite's interpreter on the CPU? And what does a call cost?

    python benchmarks/litert.py [--networks 20] [--int8 5] [--file MODEL.tflite ...] [--gpu]

Random networks of Blox and further files, in both runtimes of one process on one thread. The two take turns of six runs, in
changing order, so that what slows the machine slows both; as in a session, a turn's first two runs, which find the caches of the
other, do not count. A model's ratio is the median over fresh loads of both, in changing order, too, of that of their fastest
runs, for where a model comes to lie in memory moves its time; its 95 % interval is between two of the loads. `call`: LiteRT's
time less the interpreter's on a model of one small convolution. Outputs are compared in all, with --gpu those of LiteRT's GPU,
too, in int8 by steps of the output.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

from machine import describe_machine, option_parser
from timing import median_interval

from device_agents.clean_runs import COLD_RUNS
from device_agents.runtimes import litert, tflite
from device_agents.runtimes.loaded import Loaded
from exporters import FragmentLibrary, Precision
from harness.models.exported import cache_folder
from space.selection import select_models

TARGETS = (
    "targets: ratios within 2 % of 1, a call within 20 us, outputs within 1e-3 (fp32) or two steps (int8)"
)
WARM_RUNS = 5
TURN_RUNS = 6
NEAR = 0.02
GPU = "GPU-fp32"


def main() -> None:
    """Compare the runtimes on each model and print a table."""
    parser = option_parser(__doc__)
    parser.add_argument("--networks", type=int, default=20, help="of fp32")
    parser.add_argument("--int8", type=int, default=5, help="of int8")
    parser.add_argument("--file", action="append", default=[], help="a TFLite file of any converter")
    parser.add_argument(
        "--loads", type=int, default=16, help="fresh loads of each model, 6 or more for an interval"
    )
    parser.add_argument("--turns", type=int, default=6, help="of each, in each load")
    parser.add_argument("--core", type=int, help="core to run on")
    parser.add_argument("--gpu", action="store_true", help="compare the outputs of LiteRT's GPU in fp32, too")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    print(describe_machine())
    print(f"LiteRT {litert.find()[1]}, TFLite of {tflite.find()[0]} {tflite.find()[1]}")
    models = [*networks("fp32", arguments.networks), *networks("int8", arguments.int8)]
    models += [(Path(name).name, Path(name).read_bytes()) for name in arguments.file]
    providers = ["CPU", GPU] if arguments.gpu else ["CPU"]
    print(
        f"{'model':<28}{'ms':>9}{'ratio':>9}{'95 % interval':>18}"
        + "".join(f"{one + ' off':>14}" for one in providers)
    )
    ratios, apart = [], 0
    for name, model in models:
        loads = [compare(model, arguments.turns, number % 2 > 0) for number in range(arguments.loads)]
        ratio, low, high = median_interval([one for one, _ in loads])
        ratios.append(ratio)
        apart += low > 1 + NEAR or high < 1 - NEAR
        outputs = [off(model, provider) for provider in providers]
        ms = median(ns for _, ns in loads) / 1e6
        print(
            f"{name:<28}{ms:>9.3f}{ratio:>9.4f}{f'{low:.4f}..{high:.4f}':>18}"
            + "".join(f"{text:>14}" for text in outputs),
            flush=True,
        )
    near = sum(abs(ratio - 1) <= NEAR for ratio in ratios)
    ratio, low, high = median_interval(ratios)
    print(
        f"{len(ratios)} models: median ratio {ratio:.4f} ({low:.4f}..{high:.4f}), {near} within {NEAR:.0%}, ",
        end="",
    )
    print(f"{apart} with their whole interval beyond")
    print(f"call: {call_us():+.1f} us")
    print(TARGETS)


def networks(precision: Precision, count: int) -> list[tuple[str, bytes]]:
    """Return random networks in a precision, as linked files."""
    if not count:
        return []
    library = FragmentLibrary.open("tflite", cache_dir=cache_folder(), precision=precision)
    chosen = select_models(f"sample:{count}@7")
    return [(f"{one.index} {precision}", library.assembly(one).whole()) for one in chosen]


def pair_of(model: bytes, ours_first: bool = False) -> tuple[Loaded, Loaded]:
    """Return a model in the interpreter and in LiteRT, warm."""
    loaded = {one: load(one, model, {}) for one in ((litert, tflite) if ours_first else (tflite, litert))}
    pair = loaded[tflite], loaded[litert]
    for one in pair * WARM_RUNS:
        one.run()
    return pair


def compare(model: bytes, turns: int, ours_first: bool) -> tuple[float, float]:
    """Return (LiteRT's time in units of the interpreter's, the interpreter's time in ns), of the fastest runs of fresh loads."""
    theirs, ours = pair_of(model, ours_first)
    times: dict[int, list[int]] = {0: [], 1: []}
    for turn in range(turns):
        for which in (0, 1) if turn % 2 else (1, 0):
            runs_ns = [run_ns((theirs, ours)[which]) for _ in range(TURN_RUNS)]
            times[which] += runs_ns[COLD_RUNS:]
    return min(times[1]) / min(times[0]), min(times[0])


def run_ns(loaded: Loaded) -> int:
    """Return the time of one run."""
    start_ns = perf_counter_ns()
    loaded.run()
    return perf_counter_ns() - start_ns


def off(model: bytes, provider: str) -> str:
    """Return how far LiteRT's first outputs are off the interpreter's, at most; of int8 in steps of the output."""
    found: list[Sequence[float]] = []
    for runtime, options in ((tflite, {}), (litert, {"provider": provider})):
        one = load(runtime, model, options)
        one.run()
        found.append(one.output())
    most = max(abs(x - y) for x, y in zip(*found, strict=True))
    step = output_step(model)
    return f"{most / step:.0f} steps" if step else f"{most:.1e}"


def output_step(model: bytes) -> float:
    """Return the step of a model's first output, 0 where it is not quantized."""
    interpreter = tflite.find()[2].Interpreter(model_content=model)
    return float(interpreter.get_output_details()[0]["quantization"][0])


def load(runtime: Any, model: bytes, options: dict[str, str]) -> Loaded:
    """Load a model in a runtime on one thread."""
    loaded: Loaded = runtime.load(model, 1, options)
    return loaded


def call_us(turns: int = 3000) -> float:
    """Return LiteRT's time less the interpreter's on the smallest model, in us."""
    model = files("harness.devices").joinpath("trial_models", "stem.tflite").read_bytes()
    theirs, ours = pair_of(model)
    differences = []
    for _ in range(turns):
        first, second, third, fourth = (run_ns(one) for one in (theirs, ours, ours, theirs))
        differences.append((second + third - first - fourth) / 2)
    return median(differences) / 1000


if __name__ == "__main__":
    main()
