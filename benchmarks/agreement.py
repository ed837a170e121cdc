"""How far two fresh stores agree: whole tables of predicted latencies, and the reference latencies that make milliseconds.

    python benchmarks/agreement.py FOLDER --measure     # a fresh store of both runtimes, 90 networks each: some 3 minutes
    python benchmarks/agreement.py FOLDER --calibrate   # a small one, 12 networks each: tells of the reference alone
    python benchmarks/agreement.py FOLDER               # compares all that FOLDER holds

Call the first two at different hours, on a machine as it is. For every pair of stores and each runtime: Spearman's rank
correlation and median difference of the predicted ratios of all networks, the median difference of milliseconds, and the share
of the second table's milliseconds inside the first one's 90 % intervals. Of all stores: the differences of their
reference latencies over what both state of a visit at another hour (root mean square); a standard deviation of 1 is honest.
"""

from __future__ import annotations

import time
from itertools import combinations
from pathlib import Path

import numpy as np
from campaigns import run
from machine import describe_machine, option_parser
from scipy.stats import spearmanr

from harness.measurement.plan import QUICK, Options
from harness.prediction.space_prediction import SpaceTable, predict_space
from harness.records import Configuration, ReferenceLatency
from harness.store import Store
from search.latency.model_selection import COVERAGE

TABLE, SMALL = "design:2@1", "sample:12@5"
RUNTIMES = ("onnxruntime", "tflite")
TARGETS = (
    "targets: ratios Spearman >= 0.99 and within 0.7 % in the median, milliseconds within 1 % in the median; standardized "
    "differences\nof at least 20 pairs of reference latencies with a standard deviation of 1 +- 0.25"
)


def main() -> None:
    """Measure a store, or compare those that are there."""
    parser = option_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--measure", action="store_true", help="add a fresh store with whole tables")
    parser.add_argument("--calibrate", action="store_true", help="add a small store, for the reference alone")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.measure or arguments.calibrate:
        kind, selection = ("table", TABLE) if arguments.measure else ("small", SMALL)
        path = arguments.folder / f"{time.strftime('%m%d-%H%M%S')}-{kind}.sqlite"
        with Store(str(path)) as store:
            for runtime in RUNTIMES:
                outcome = run([selection], store, Options(runtimes=(runtime,), level=QUICK), seed=None)
                print(f"{path.name}: {runtime}, {outcome.measured} sessions in {outcome.elapsed_s:.0f} s")
        return
    print(describe_machine())
    stores = {path.stem: Store(str(path)) for path in sorted(arguments.folder.glob("*.sqlite"))}
    for runtime in RUNTIMES:
        known = {name: one for name, store in stores.items() if (one := configuration_of(store, runtime))}
        tables = {name: predict_space(stores[name], known[name]) for name in known if name.endswith("-table")}
        print(f"\n{runtime}: {len(known)} stores")
        print(f"{'whole tables':<38}{'Spearman':>9}{'ratios':>8}{'factor':>8}{'ms':>7}{'inside 90 %':>13}")
        for first, second in combinations(tables, 2):
            print(f"{first + ' / ' + second:<38}{compared(tables[first], tables[second])}")
        references = {name: stores[name].reference_latency(known[name]) for name in known}
        print_references({name: one for name, one in references.items() if one is not None})
    print(f"\n{TARGETS}")


def configuration_of(store: Store, runtime: str) -> Configuration | None:
    """Return the configuration of a runtime in a store that holds one of each."""
    return next((one for one in store.configurations() if one.runtime == runtime), None)


def compared(first: SpaceTable, second: SpaceTable) -> str:
    """Return how two tables agree: ranks, ratios after their common factor, that factor, milliseconds, intervals."""
    a, b = first.prediction, second.prediction
    logs = np.log(b.ratios / a.ratios)
    factor = float(np.median(logs))
    (ours_ms, low_ms, high_ms), (theirs_ms, _, _) = (
        table.measured.milliseconds(table.prediction, COVERAGE) for table in (first, second)
    )
    off_ms = np.abs(theirs_ms / ours_ms - 1)
    inside = ((low_ms <= theirs_ms) & (theirs_ms <= high_ms)).mean()
    rank = spearmanr(a.ratios, b.ratios).statistic
    return f"{rank:9.4f}{np.median(np.abs(logs - factor)):8.2%}{factor:8.2%}{np.median(off_ms):7.2%}{inside:13.0%}"


def print_references(references: dict[str, ReferenceLatency]) -> None:
    """Print reference latencies, and how their differences compare with what they state of themselves."""
    for name, one in references.items():
        print(
            f"  {name:<36}{one.latency_ns / 1e6:8.4f} ms +- {one.sd or float('nan'):.2%}, {one.sessions} sessions"
        )
    scores = [
        np.log(b.latency_ns / a.latency_ns) / np.hypot(a.sd, b.sd)
        for a, b in combinations(references.values(), 2)
        if a.sd and b.sd
    ]
    if scores:
        # of pairs the mean is 0 by symmetry: which store stands first means nothing
        spread = float(np.sqrt(np.mean(np.square(scores))))
        print(f"  standardized differences of {len(scores)} pairs: standard deviation {spread:.2f}")


if __name__ == "__main__":
    main()
