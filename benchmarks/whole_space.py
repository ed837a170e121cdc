"""From nothing to a table of the whole space: how long, how good, and against an earlier version in the same run.

    python benchmarks/whole_space.py [--runtime onnxruntime] [--against 4f57e14] [--busy] [--judges 225] [--sessions 1]
                                     [--tables 1] [--store FOLDER]

For each runtime, with fragments in the cache:
1. `harness measure --until mape=2%` from an empty store and `harness predict --output` of the table, timed as a user would; with
   `--against`, the same two commands of that commit in the same run.
2. Random judges, each measured once in processes of their own, in the same store but after the table was written: errors of the
   table against them, and how many lie inside its 90 % intervals, beside half the width of these. They carry the noise of one
   quick session each, which stands beside: the same figures between two sessions of some of them. With `--sessions N` a judge
   is the median of N sessions, which is nearer to what the intervals are of. With `--tables N`, N - 1 further tables from empty
   stores before the same judges: the share inside one table's intervals varies by 4 points where all is as it should be (the
   90 % point of the 45 errors that set their width), so it is their mean that tells whether 90 % are.
3. With `--busy`, step 1 once more while another program, in a session of its own, spins on the measured core.
With two runtimes, the first one's table is the prior of the second's: 10 networks, drawn 20 times.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
from campaigns import run
from machine import describe_machine, option_parser
from surroundings import SPIN, programs

from harness.measurement.plan import QUICK, Options
from harness.prediction.space_prediction import MeasuredNetworks, SpaceTable, load_measured, predict_space
from harness.store import Store
from search.latency.candidates import CANDIDATES
from search.latency.evaluation import Errors, judge, repeatability
from search.latency.model_selection import select_predictor
from space.selection import select_models

ROOT = Path(__file__).resolve().parents[1]
JUDGES_SEED = 101
TWICE = 40  # judges measured a second time
TRANSFER_NETWORKS, TRANSFER_DRAWS = 10, 20
HEADER = (
    f"{'':<36}{'mean':>7}{'median':>8}{'in 5 %':>8}{'in 10 %':>9}{'Spearman':>10}{'Kendall':>9}{'inside':>8}"
)
TARGETS = (
    "targets: <= 90 s (onnxruntime), <= 120 s (tflite) on a free machine, >= 2.2 times as fast as 4f57e14; median error <= 1 %,\n"
    "in 5 % >= 98 %, Spearman >= 0.99, 90 +- 4 % inside; busy: the same errors in at most twice the time; transfer: >= 0.95"
)
Table = dict[str, tuple[float, float, float]]


def main() -> None:
    """Measure, predict, judge and print."""
    parser = option_parser(__doc__)
    parser.add_argument("--runtime", choices=["onnxruntime", "tflite"], action="append", dest="runtimes")
    parser.add_argument("--against", help="a commit whose same commands are timed beside")
    parser.add_argument(
        "--busy", action="store_true", help="once more beside a busy program on the measured core"
    )
    parser.add_argument(
        "--core", type=int, default=max(os.sched_getaffinity(0)), help="the measured core of --busy"
    )
    parser.add_argument("--judges", type=int, default=225)
    parser.add_argument("--sessions", type=int, default=1, help="of each judge; their median counts")
    parser.add_argument("--tables", type=int, default=1, help="from empty stores, before the same judges")
    parser.add_argument("--store", type=Path, help="keep the stores in this folder")
    arguments = parser.parse_args()
    print(describe_machine())
    measured = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.store or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for runtime in arguments.runtimes or ["onnxruntime", "tflite"]:
            print(f"\n{runtime}", flush=True)
            before_s = 0.0
            if arguments.against:
                before_s, _ = from_nothing(folder, runtime, "before", commit=arguments.against)
            elapsed_s, table = from_nothing(folder, runtime, "table")
            if arguments.against:
                print(f"as fast as {arguments.against}: {before_s / elapsed_s:.1f} times")
            tables = [(table, space_of(folder, runtime, "table"))]
            for count in range(2, arguments.tables + 1):
                table = from_nothing(folder, runtime, f"table-{count}")[1]
                tables.append((table, space_of(folder, runtime, f"table-{count}")))
            store = Store(str(folder / f"{runtime}-table.sqlite"))
            truth = judged(store, runtime, arguments.judges, arguments.sessions)
            print(HEADER)
            shares = []
            for table, space in tables:
                print_errors("the table against random judges", table, truth)
                held, half_width = inside(space, truth)
                print(f"inside the 90 % intervals of their ratios (+-{half_width:.2%}): {held:.1%}")
                shares.append(held)
            if len(shares) > 1:
                print(f"inside, the mean of {len(shares)} tables: {np.mean(shares):.1%}")
            if arguments.busy:
                with programs([arguments.core], SPIN):
                    busy_s, beside = from_nothing(folder, runtime, "busy", "--cores", str(arguments.core))
                print_errors("the table made beside a busy program", beside, truth)
                print(f"beside a busy program it took {busy_s / elapsed_s:.2f} times as long")
            measured.append(truth)
            store.close()
    for prior, target in pairwise(measured):
        transfer(prior, target)
    print(f"\n{TARGETS}")


def from_nothing(
    folder: Path, runtime: str, name: str, *arguments: str, commit: str | None = None
) -> tuple[float, Table]:
    """Run the commands from an empty store; return how long they took in s, and {network: latency, low, high in ms}."""
    store, output = folder / f"{runtime}-{name}.sqlite", folder / f"{runtime}-{name}.csv"
    store.unlink(missing_ok=True)
    with checked_out(commit) as root:
        environment = os.environ | {"PYTHONPATH": str(root), "HARNESS_STORE": str(store)}
        harness = [
            sys.executable,
            "-c",
            "import sys; from harness.commands.app import main; sys.exit(main())",
        ]
        start_s = time.perf_counter()
        measure = [*harness, "measure", "--runtime", runtime, "--until", "mape=2%", *arguments]
        done = subprocess.run(measure, env=environment, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"harness measure ended with {done.returncode}: {done.stderr}")
        subprocess.run(
            [*harness, "predict", "--runtime", runtime, "--output", str(output)],
            env=environment,
            cwd=folder,
            capture_output=True,
            check=True,
        )
        elapsed_s = time.perf_counter() - start_s
    fitted = re.search(r"(\d+) networks: held-out", done.stderr)
    print(
        f"{commit or 'this version'}: from nothing to the table in {elapsed_s:.0f} s, "
        f"{fitted[1] if fitted else '?'} networks fitted{', ' + ' '.join(arguments) if arguments else ''}",
        flush=True,
    )
    with output.open(newline="") as file:
        rows = {
            row["architecture"]: (float(row["latency_ms"]), float(row["low_ms"]), float(row["high_ms"]))
            for row in csv.DictReader(file)
        }
    return elapsed_s, rows


@contextmanager
def checked_out(commit: str | None) -> Iterator[Path]:
    """Yield the root of this version, or of a commit checked out beside it meanwhile."""
    if commit is None:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkout"
        subprocess.run(
            ["git", "-C", str(ROOT), "worktree", "add", "--detach", str(root), commit],
            check=True,
            capture_output=True,
        )
        try:
            yield root
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(root)], check=True)


def space_of(folder: Path, runtime: str, name: str) -> SpaceTable:
    """Return the table that the store of these commands holds."""
    with Store(str(folder / f"{runtime}-{name}.sqlite")) as store:
        return predict_space(store, store.configurations()[0])


def judged(store: Store, runtime: str, count: int, sessions: int) -> MeasuredNetworks:
    """Measure random judges in processes of their own, some of them once more; return all that the store then holds."""
    options = Options(runtimes=(runtime,), level=QUICK, sessions=sessions)
    outcome = run([f"sample:{count}@{JUDGES_SEED}"], store, options)
    run(
        [f"sample:{TWICE}@{JUDGES_SEED}"],
        store,
        Options(runtimes=(runtime,), level=QUICK, sessions=sessions + 1),
        seed=1,
    )
    print(f"{outcome.measured} sessions of judges in {outcome.elapsed_s:.0f} s", flush=True)
    return load_measured(store, outcome.uses[0].configuration)


def print_errors(title: str, table: Table, truth: MeasuredNetworks) -> None:
    """Print how far a table is from the judges, after one common factor of the two reference latencies, and how they repeat."""
    judges = judges_of(truth)
    rows = [row for index, row in zip(truth.indices.tolist(), truth.rows, strict=True) if index in judges]
    measured = np.array([np.median(row.session_medians) for row in rows]) * truth.reference_ms
    predicted, low, high = np.array([table[row.architecture] for row in rows]).T
    factor = float(np.median(measured / predicted))
    inside = ((low * factor <= measured) & (measured <= high * factor)).mean()
    print(
        f"{title:<36}{_cells(judge(predicted * factor, measured))}{inside:8.1%}  (common factor {factor:.4f})"
    )
    twice = [row.session_medians[:2] for row in rows if len(row.session_medians) > 1]
    first, second = zip(*twice, strict=True)
    print(f"{'two sessions of ' + str(len(twice)) + ' judges':<36}{_cells(repeatability(first, second))}")


def judges_of(truth: MeasuredNetworks) -> set[int]:
    """Return the indices of the judges among all that was measured."""
    return {a.index for a in select_models(f"sample:{len(truth.indices)}@{JUDGES_SEED}", truth.config)}


def inside(space: SpaceTable, truth: MeasuredNetworks) -> tuple[float, float]:
    """Return the share of judges whose ratio lies inside the table's interval, the reference left out; half the median width."""
    judges = judges_of(truth) - set(space.measured.indices.tolist())
    rows = [
        (index, row) for index, row in zip(truth.indices.tolist(), truth.rows, strict=True) if index in judges
    ]
    ratios = np.array([np.median(row.session_medians) for _, row in rows])
    low, high = (ends[[index for index, _ in rows]] for ends in (space.prediction.low, space.prediction.high))
    return float(((low <= ratios) & (ratios <= high)).mean()), float(np.median((high - low) / (high + low)))


def transfer(prior: MeasuredNetworks, target: MeasuredNetworks) -> None:
    """Judge 10 networks of a configuration with another's prediction as prior, beside the same networks without."""
    names = [measured.configuration.runtime for measured in (prior, target)]
    print(f"\n{names[0]} as prior of {names[1]}, {TRANSFER_NETWORKS} networks, {TRANSFER_DRAWS} draws")
    print(f"{'':<36}{'Spearman, median':>18}{'worst':>8}{'median error, median':>22}{'worst':>8}")
    everywhere = np.arange(len(prior.config))
    whole = select_predictor(prior.indices, prior.ratios, config=prior.config, sds=prior.sds)
    ratios = whole.predict(everywhere).ratios
    rng = np.random.default_rng(0)
    found: dict[str, list[Errors]] = {"transfer": [], "ridge": []}
    for _ in range(TRANSFER_DRAWS):
        order = rng.permutation(len(target.indices))
        picked, apart = order[:TRANSFER_NETWORKS], order[TRANSFER_NETWORKS:]
        for name in found:
            candidate = next(candidate for candidate in CANDIDATES if candidate.name == name)
            predictor = select_predictor(
                target.indices[picked],
                target.ratios[picked],
                config=target.config,
                sds=target.sds[picked],
                prior=ratios,
                candidates=[candidate],
            )
            predicted = predictor.predict(target.indices[apart])
            found[name].append(judge(predicted.ratios, target.ratios[apart]))
    for name, errors in found.items():
        ranks = [error.spearman or 0.0 for error in errors]
        off = [error.median_ape for error in errors]
        print(f"{name:<36}{np.median(ranks):18.3f}{min(ranks):8.3f}{np.median(off):22.2%}{max(off):8.2%}")


def _cells(errors: Errors) -> str:
    return (
        f"{errors.mape:7.2%}{errors.median_ape:8.2%}{errors.within_5:8.1%}{errors.within_10:9.1%}"
        f"{errors.spearman or 0:10.3f}{errors.kendall or 0:9.3f}"
    )


if __name__ == "__main__":
    main()
