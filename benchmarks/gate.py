"""How often `harness compare` and `harness gate` are wrong about identical model files, and how soon they find a slowdown.

    python benchmarks/gate.py [--case same 5% 2%] [--beside free busy stream] [--runtime tflite] [--pairs 20] [--seed 3]
                              [--results FILE.jsonl] [--most-s 450]

`same`: a random network of the space exported twice, with other metadata and therefore another digest. `5%`, `2%`: two networks
whose latencies differ by that, or by up to a quarter less or half more, picked from 24 that are measured first; the truth is
that of 16 processes in each role.
Each pair is judged by the gate at its default in an empty store, then by compare, which goes on in the same store: its first
look is the gate's, so that its seconds are the gate's and its own together. `busy`: beside a program that spins on the measured
core, `stream`: beside one that streams memory on another. Judgments are appended to the results, and the table is of all that
they hold, so that a long run can be made in pieces: `--pairs 0` prints it.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import permutations, product
from math import ceil, isfinite
from pathlib import Path
from statistics import median
from typing import Any

from contention import Cores
from machine import describe_machine, option_parser
from scipy.stats import binomtest
from surroundings import SPIN, STREAM, programs

import harness
from exporters import Format
from exporters.standalone import standalone
from harness.devices.config import RUNTIMES, LocalDevice
from harness.devices.names import select_devices
from harness.models.exported import cache_folder
from harness.models.files import open_one
from harness.models.names import select_architecture
from harness.prediction.request import MeasureRequest
from harness.query.compare_files import compare_files
from harness.query.gate import DeviceTiming, gate
from harness.query.gate_baseline import Baseline, kept_file, save_baseline
from space import BLOX
from space.errors import HarnessError
from space.selection import select_models

SIZES = {
    "5%": (0.05, 60.0),
    "2%": (0.02, 120.0),
}  # of a slowdown, and within how many seconds it is to be found
CANDIDATES, PAIRS_EACH, PAIRS_TRIED, TRUTH_SESSIONS = 24, 2, 8, 16
BESIDE = ("free", "busy", "stream")
CASES = ("same", *SIZES)
DEVICE = "bench"


def around(beside: str, cores: Cores) -> AbstractContextManager[None]:
    """Run what goes on beside the measurements."""
    if beside == "free":
        return nullcontext()
    return programs(cores.measured, SPIN) if beside == "busy" else programs(cores.others[-1:], STREAM)


class Bench:
    """Judge pairs of files on the last core of this machine; what comes of each is a line of the results."""

    def __init__(self, folder: Path, results: Path) -> None:
        self._folder, self._results = folder, results
        self.cores = Cores.here(1)
        self._devices = folder / "devices.toml"
        self._devices.write_text(
            f'[devices.{DEVICE}]\ntransport = "local"\ncores = {list(self.cores.measured)}\n'
        )

    def lines(self) -> list[dict[str, Any]]:
        """Return what the results hold."""
        if not self._results.exists():
            return []
        return [json.loads(line) for line in self._results.read_text().splitlines()]

    def keep(self, line: dict[str, Any]) -> None:
        """Append a line to the results."""
        with self._results.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def file(self, network: str, runtime: str, name: str) -> Path:
        """Return a network's file, whose metadata hold the name."""
        model_format: Format = RUNTIMES[runtime]
        path = self._folder / f"{name}.{model_format}"
        path.write_bytes(
            standalone(
                select_architecture(network, BLOX),
                model_format,
                cache_dir=cache_folder(),
                metadata={"made.for": name},
            )
        )
        return path

    def judge(self, case: str, beside: str, runtime: str, pair: dict[str, Any]) -> dict[str, Any]:
        """Judge a pair by the gate and by compare; the second network is the baseline's."""
        old, new = (self.file(pair[one], runtime, name) for one, name in (("b", "old"), ("a", "new")))
        base = self._folder / "base.json"
        kept = kept_file(open_one(str(old)), base, []).model_copy(update={"name": new.name})
        save_baseline(base, Baseline(version=1, files=(kept,)))
        line = {"case": case, "beside": beside, "runtime": runtime, "a": pair["a"], "b": pair["b"]}
        line["truth"] = pair.get("truth", 1.0)
        with tempfile.TemporaryDirectory() as folder, harness.open_store(f"{folder}/store.sqlite") as store:
            start_s = time.monotonic()
            timing = DeviceTiming(store=store, device=DEVICE, runtime=runtime, devices_file=self._devices)
            (check,) = gate([new], base, timing).checks
            line |= {
                "gate": check.outcome,
                "gate_low": None if check.interval is None else check.interval[0],
                "gate_high": None if check.interval is None else check.interval[1],
                "gate_note": check.note,
                "gate_s": time.monotonic() - start_s,
            }
            try:
                row, _, found = self._compare(store, new, old, runtime)
            except HarnessError as error:
                return line | {
                    "verdict": "failed",
                    "note": str(error),
                    "compare_s": time.monotonic() - start_s,
                }
            low, high = found.interval or (float("nan"),) * 2
            return line | {
                "verdict": found.verdict,
                "ratio": found.ratio,
                "low": low,
                "high": high,
                "grade": row.grade,
                "findings": [one.kind for one in row.findings],
                "medians": row.session_medians,
                "compare_s": time.monotonic() - start_s,
            }

    def truth(self, runtime: str, size: str, a: str, b: str) -> dict[str, Any]:
        """Measure a pair long and carefully."""
        with tempfile.TemporaryDirectory() as folder, harness.open_store(f"{folder}/store.sqlite") as store:
            new, old = self.file(a, runtime, "new"), self.file(b, runtime, "old")
            *_, found = self._compare(store, new, old, runtime, sessions=TRUTH_SESSIONS)
            low, high = found.interval or (0.0, float("inf"))
        line = {"pair": size, "runtime": runtime, "a": a, "b": b}
        return line | {"truth": found.ratio, "low": low, "high": high}

    def _compare(self, store: harness.Store, new: Path, old: Path, runtime: str, **options: Any) -> Any:
        devices = select_devices([DEVICE], self._devices)
        request = MeasureRequest(
            devices=devices, models=(str(new),), reference=old, level="screen", runtimes=(runtime,), **options
        )
        (found,), _ = compare_files(request, store)
        return found

    def pairs(self, runtime: str, size: str) -> list[dict[str, Any]]:
        """Return the pairs whose latencies differ by about so much, picked and measured where the results have none."""
        kept = [line for line in self.lines() if line.get("pair") == size and line["runtime"] == runtime]
        found = [line for line in kept if of_size(line["truth"], size)]
        tried = {(line["a"], line["b"]) for line in kept}
        if len(found) >= PAIRS_EACH or len(tried) >= PAIRS_TRIED:
            return found
        ratios = self._ratios(runtime)
        untried = set(permutations(ratios, 2)) - tried
        a, b = min(untried, key=lambda two: abs(ratios[two[0]] / ratios[two[1]] - 1 - SIZES[size][0]))
        self.keep(self.truth(runtime, size, a, b))
        return self.pairs(runtime, size)

    @cache  # noqa: B019 - there is one bench, for as long as the process
    def _ratios(self, runtime: str) -> dict[str, float]:
        device = LocalDevice(name=DEVICE, cores=self.cores.measured)
        with tempfile.TemporaryDirectory() as folder, harness.open_store(f"{folder}/store.sqlite") as store:
            models = f"sample:{CANDIDATES}@1"
            table = harness.measure(device, models, store=store, runtimes=[runtime])
        return {row.architecture: row.estimate.ratio for row in table}


def run(
    bench: Bench,
    chosen: Sequence[tuple[str, str, str]],
    pairs: int,
    seed: int,
    deadline_s: float,
) -> None:
    """Judge so many pairs of each case, in turns, until the time is up."""
    rng = random.Random(seed)
    networks = [str(one) for one in select_models(f"sample:{max(pairs, 1)}@{seed}")]
    for number, (case, beside, runtime) in product(range(pairs), chosen):
        if time.monotonic() > deadline_s:
            print("time is up; the same command with another seed goes on")
            return
        pair = {"a": networks[number], "b": networks[number]}
        if case in SIZES:
            found = bench.pairs(runtime, case)
            if not found:
                print(f"{runtime}: no two networks differ by {case}")
                continue
            pair = rng.choice(found)
        with around(beside, bench.cores):
            bench.keep(bench.judge(case, beside, runtime, pair) | {"seed": seed, "number": number})


def of_size(truth: float, size: str) -> bool:
    """Return whether a ratio is a slowdown of about that size."""
    return 0.75 * SIZES[size][0] <= truth - 1 <= 1.5 * SIZES[size][0]


def share(count: int, total: int) -> str:
    """Return a share with its 95 % interval (Clopper and Pearson 1934)."""
    if not total:
        return "-"
    ends = binomtest(count, total).proportion_ci(0.95)
    return f"{count}/{total} ({ends.low:.1%} .. {ends.high:.1%})"


def table(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of all judgments: shares with 95 % intervals, seconds as median and 95 % quantile."""
    for line in lines:
        if "pair" in line:
            yield (
                f"{line['pair']} {line['runtime']}: {line['a']} / {line['b']} is {line['truth']:.4f} "
                f"({line['low']:.4f} .. {line['high']:.4f})"
            )
    yield (
        f"\n{'case':<6}{'beside':<8}{'runtime':<13}{'compare: slower or faster':>30}{'gate: failed':>28}"
        f"{'not judged':>12}{'truth held':>12}{'gate s':>14}{'compare s':>14}"
    )
    for case, beside, runtime in product(CASES, BESIDE, RUNTIMES):
        of = [
            one
            for one in lines
            if (one.get("case"), one.get("beside"), one["runtime"]) == (case, beside, runtime)
            and (case not in SIZES or of_size(one["truth"], case))
        ]
        if not of:
            continue
        told = [one["verdict"] in (("slower",) if case in SIZES else ("slower", "faster")) for one in of]
        if case in SIZES:
            told = [
                is_told and one["compare_s"] <= SIZES[case][1] for is_told, one in zip(told, of, strict=True)
            ]
        held = [one for one in of if isfinite(one.get("low", float("nan")))]
        covered = sum(one["low"] <= one["truth"] <= one["high"] for one in held)
        yield (
            f"{case:<6}{beside:<8}{runtime:<13}{share(sum(told), len(of)):>30}"
            f"{share(sum(one['gate'] == 'fail' for one in of), len(of)):>28}"
            f"{sum(one['gate'] == 'not judged' for one in of):>12}{f'{covered}/{len(held)}':>12}"
            f"{seconds([one['gate_s'] for one in of]):>14}{seconds([one['compare_s'] for one in of]):>14}"
        )
    yield "\ntargets: of identical files at most 5 % told apart by compare and none failed by the gate;"
    yield "slowdowns of 5 % told within 60 s and of 2 % within 120 s in at least 95 % of cases"


def seconds(values: Sequence[float]) -> str:
    """Return the median and the 95 % quantile of some seconds."""
    ordered = sorted(values)
    return f"{median(ordered):.0f}, {ordered[ceil(0.95 * (len(ordered) - 1))]:.0f}"


def main() -> None:
    """Judge pairs, and print the table of all that the results hold."""
    parser = option_parser(__doc__)
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--beside", choices=BESIDE, nargs="+", default=["free", "busy"])
    parser.add_argument("--runtime", choices=list(RUNTIMES), nargs="+", default=list(RUNTIMES))
    parser.add_argument("--pairs", type=int, default=20, help="pairs of each case [default: 20]")
    parser.add_argument("--seed", type=int, default=0, help="which pairs [default: 0]")
    parser.add_argument("--results", type=Path, default=Path("gate.jsonl"), help="[default: gate.jsonl]")
    parser.add_argument("--most-s", type=float, default=float("inf"), help="begin no pair after so many s")
    arguments = parser.parse_args()
    deadline_s = time.monotonic() + arguments.most_s
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.results)
        chosen = list(product(arguments.case, arguments.beside, arguments.runtime))
        run(bench, chosen, arguments.pairs, arguments.seed, deadline_s)
        print("\n".join(table(bench.lines())))


if __name__ == "__main__":
    main()
