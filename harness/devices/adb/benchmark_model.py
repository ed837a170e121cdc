"""LiteRT's `benchmark_model` on a phone that has nothing but adb: its command line, and the averages that it tells.

It prints averages over runs and no single one. What it prints was read in public reports of it (tests/harness/devices/adb/
benchmark_model_answers.json has them with their addresses); whatever else it prints is an error.
Source: https://github.com/tensorflow/tensorflow/tree/master/tensorflow/lite/tools/benchmark
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from space.errors import HarnessError

WARMUP_S = 0.2
MOST_S = 60.0  # of a call: what has not run until then is not awaited
LEAST_US, MOST_US = 1e-3, 1e9  # of a run: what lies outside is no time of one
# The provider's name -> its flags. The GPU computes in fp16 unless it is told otherwise.
PROVIDERS: dict[str, tuple[str, ...]] = {
    "XNNPACK": ("--use_xnnpack=true",),
    "builtin": ("--use_xnnpack=false",),
    "GPU": ("--use_gpu=true", "--gpu_precision_loss_allowed=true"),
    "GPU-fp32": ("--use_gpu=true", "--gpu_precision_loss_allowed=false"),
}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
_TIMES = " ".join(f"{name}=({_NUMBER})" for name in ("first", "curr", "min", "max", "avg", "std"))
_COUNT = re.compile(rf"(?:INFO: )?count=([0-9]{{1,9}}) (?:{_TIMES}(?: .*)?|curr=({_NUMBER}))")
_SUMMARY = re.compile(
    rf"(?:INFO: )?Inference timings in us: Init: ({_NUMBER}), First inference: ({_NUMBER}), "
    rf"Warmup \(avg\): ({_NUMBER}), Inference \(avg\): ({_NUMBER})"
)
_WHOLE = re.compile(
    r"Explicitly applied \w+ delegate, and the model graph will be completely executed by the delegate"
)
_ERROR = re.compile(r"(?:^|\n)(?:ERROR: )?([^\n]*(?:[Ff]ailed|ERROR|[Ee]rror)[^\n]*)")


class NotAverages(HarnessError):
    """Printed text of the program without an average that can be taken; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Averages:
    """Averages of one call, in ns: loading, the first run, the mean of `runs` runs and the fastest of them.

    `is_whole`: the delegate that was asked for says that it runs the whole graph.
    """

    load_ns: int
    first_run_ns: int
    mean_ns: int
    runs: int
    is_whole: bool


def arguments(program: str, graph: str, provider: str, threads: int, runs: int) -> list[str]:
    """Return the command line that runs a model so often. Raises: KeyError for a provider that is none of `PROVIDERS`."""
    return [
        program,
        f"--graph={graph}",
        f"--num_threads={threads}",
        f"--num_runs={runs}",
        "--min_secs=0",
        f"--max_secs={MOST_S:g}",
        "--warmup_runs=1",
        f"--warmup_min_secs={WARMUP_S:g}",
        *PROVIDERS[provider],
    ]


def parse_averages(text: str, runs: int) -> Averages:
    """Read the printed text of a call for a number of runs. Raises: NotAverages."""
    lines = [line.strip() for line in text.replace("\r", "").split("\n")]
    summaries = [found for line in lines if (found := _SUMMARY.fullmatch(line))]
    counts = [found for line in lines if (found := _COUNT.fullmatch(line))]
    if len(summaries) != 1 or len(counts) != 2:
        told = _ERROR.search(text)
        why = told[1].strip() if told else f"{len(summaries)} summaries and {len(counts)} lines of counts"
        raise NotAverages(
            f"benchmark_model told no averages: {why[:200]!r}; run it by hand, and take a version that prints "
            "'Inference timings in us: ...'"
        )
    init_us, first_us, warmup_us, mean_us = map(float, summaries[0].groups())
    warmup, timed = (float(count[6] or count[8]) for count in counts)  # of one run it is told alone
    if int(counts[1][1]) != runs:
        raise NotAverages(
            f"benchmark_model ran the model {counts[1][1]} times where {runs} were asked for: longer than {MOST_S:g} s, or "
            "another version of it"
        )
    # It prints 6 digits of a mean, and all of a single run.
    is_told_twice = [f"{one:.6g}" for one in (warmup, timed)] == [
        f"{one:.6g}" for one in (warmup_us, mean_us)
    ]
    is_possible = init_us < MOST_US and all(LEAST_US <= one < MOST_US for one in (first_us, mean_us))
    if not is_possible or not is_told_twice or not 0 < float(counts[1][4] or counts[1][8]) <= mean_us:
        raise NotAverages(f"benchmark_model contradicts itself: {summaries[0][0][:200]!r}")
    return Averages(
        load_ns=round(1e3 * init_us),
        first_run_ns=round(1e3 * first_us),
        mean_ns=round(1e3 * mean_us),
        runs=runs,
        is_whole=_WHOLE.search(text) is not None,
    )


def version_of(digest: str) -> str:
    """Return the beginning of its file's sha256 as the version: the program tells none."""
    return f"benchmark_model {digest[:12]}"
