"""Reading accuracies, against what people write: a base file of the whole space, and look-ups in it.

    python benchmarks/dataset.py [--runs 3]

The file is made here of made-up (synthetic) values: 91,125 rows, 200 epochs of val_top1, test_top1, train_time_s, in all
three formats and as tables of a user's own. The plain readers are written without cleverness: rows of the csv module, lists by
`json.loads` or `ast.literal_eval`, into a dictionary by hash; and `pickle.load`, which runs whatever a file says. Lists by
`ast.literal_eval` are timed on a part of the rows and that time is multiplied up, marked as such. None of them checks a value,
ours check all. Each figure is the best of several runs, in seconds of this process on one core, so that other programs count for
little; ratios compare figures of this one run.
"""

from __future__ import annotations

import ast
import csv
import importlib.util
import itertools
import json
import pickle
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import describe_machine, option_parser
from timing import least_s

from space import BLOX, Architecture
from space.accuracies import load_accuracies, read_trainings
from space.dataset import Dataset, read_dataset, write_dataset

EPOCHS = 200
LITERAL_ROWS = 2_000
LOOK_UPS = 20_000
SUFFIXES = (".blox", ".csv", ".pickle")
Row = tuple[list[float], float, int]


def made_up() -> Dataset:
    """Return a synthetic base file: curves that rise to some 74 % and waver, as shares of the images."""
    rng = np.random.default_rng(0)
    final = rng.normal(74, 0.8, len(BLOX))
    curves = np.outer(final, 1 - np.exp(-np.arange(1, EPOCHS + 1) / 25)) + rng.normal(
        0, 0.6, (len(BLOX), EPOCHS)
    )
    return Dataset(
        dataset_type="training",
        indices=rng.permutation(len(BLOX)),
        columns={
            "val_top1": _shares(curves, 5_000),
            "test_top1": _shares(final, 10_000),
            "train_time_s": rng.integers(3_000, 9_000, len(BLOX)),
        },
        extra={"seed": 0, "epochs": EPOCHS, "dataset": "synthetic", "part": "base"},
    )


def _shares(percent: np.ndarray, images: int) -> np.ndarray:
    return np.round(np.rint(np.clip(percent, 0, 100) * (images / 100)) / images * 100, 3)


def plain_csv(path: Path, parse: Callable[[str], list[float]], most: int | None = None) -> dict[str, Row]:
    """Read the rows as most scripts do."""
    with path.open(newline="") as file:
        file.readline()
        for line in file:
            if line == "---\n":
                break
        return {
            key: (parse(val), float(test), int(s))
            for key, val, test, s in itertools.islice(csv.reader(file), most)
        }


def plain_pickle(path: Path) -> dict[str, Row]:
    """Unpickle the rows; only a file that this program has written itself may be read so."""
    with path.open("rb") as file:
        file.readline()
        for line in file:
            if line == b"---\n":
                break
        return {key: (val, test, s) for key, val, test, s in pickle.load(file)}  # noqa: S301


def plain_best(rows: dict[str, Row]) -> dict[str, float]:
    """Return the best validation accuracy of each network."""
    return {key: max(val) for key, (val, _, _) in rows.items()}


def best_s(function: Callable[[], object], runs: int) -> float:
    """Return the seconds of this process in the fastest of several calls."""
    return least_s(function, runs, time.process_time)


def each_us(look_up: Callable[[object], object], names: list[object]) -> float:
    """Return the microseconds of one look-up, the best of five rounds over all names."""
    look_up(names[0])  # the index of all hashes is made once

    def every() -> None:
        for name in names:
            look_up(name)

    return best_s(every, 5) / len(names) * 1e6


def main() -> None:
    """Measure and print the tables."""
    parser = option_parser(__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of each reading; the best counts")
    runs = parser.parse_args().runs
    print(describe_machine())
    print(f"a synthetic base file: {len(BLOX):,} rows, {EPOCHS} epochs")
    with tempfile.TemporaryDirectory() as folder:
        dataset = made_up()
        paths = {suffix: Path(folder, f"blox-base-0{suffix}") for suffix in SUFFIXES}
        for path in paths.values():
            write_dataset(path, dataset)
        best = dict(
            zip(dataset.hashes.tolist(), dataset.columns["val_top1"].max(axis=1).tolist(), strict=True)
        )
        del dataset
        _print_reading(paths, best, runs)
        _print_own_tables(Path(folder), best, runs)
        _print_lookups(paths[".blox"])


def _print_reading(paths: dict[str, Path], best: dict[str, float], runs: int) -> None:
    text = paths[".csv"]
    if not plain_best(plain_csv(text, json.loads)) == plain_best(plain_pickle(paths[".pickle"])) == best:
        raise SystemExit("the plain readers read something else than was written")
    part = best_s(lambda: plain_best(plain_csv(text, ast.literal_eval, LITERAL_ROWS)), runs)
    peers = {
        f"csv and ast.literal_eval (from {LITERAL_ROWS:,} rows)": part * len(BLOX) / LITERAL_ROWS,
        "csv and json.loads": best_s(lambda: plain_best(plain_csv(text, json.loads)), runs),
        "pickle.load": best_s(lambda: plain_best(plain_pickle(paths[".pickle"])), runs),
    }
    print(f"\n{'plain readers, best epoch of each network':46} {'MB':>8} {'seconds':>9}")
    for name, seconds in peers.items():
        path = paths[".pickle" if "pickle" in name else ".csv"]
        print(f"{name:46} {path.stat().st_size / 1e6:8.1f} {seconds:9.2f}")
    columns = "".join(f"{name:>16}" for name in ("literal_eval", "json", "pickle.load"))
    print(f"\n{'ours, and how many times faster than each':46} {'MB':>8} {'seconds':>9}{columns}")
    for suffix, path in paths.items():
        found = load_accuracies(path, allow_pickle=True)
        if any(found.at(key) != value for key, value in best.items()):
            raise SystemExit(f"load_accuracies read something else from {suffix} than was written")
        for name, function in (
            (f"read_dataset {suffix}", lambda path=path: read_dataset(path, allow_pickle=True)),
            (f"load_accuracies {suffix}", lambda path=path: load_accuracies(path, allow_pickle=True)),
            (
                f"load_accuracies {suffix}, test_top1",
                lambda path=path: load_accuracies(path, allow_pickle=True, metric="test_top1"),
            ),
        ):
            seconds = best_s(function, runs)
            ratios = "".join(f"{peer / seconds:14.1f} x" for peer in peers.values())
            print(f"{name:46} {path.stat().st_size / 1e6:8.1f} {seconds:9.2f}{ratios}")


def _print_own_tables(folder: Path, best: dict[str, float], runs: int) -> None:
    networks = [Architecture.from_hash(key) for key in best]
    notations = {
        "texts": list(map(str, networks)),
        "hashes": list(best),
        "indices": [a.index for a in networks],
        "vectors": [str(a.vector) for a in networks],
    }
    with_parquet = importlib.util.find_spec("pyarrow") is not None
    print(f"\n{'own tables of 91,125 rows, seconds':46} {'CSV':>9} {'Parquet':>9}")
    for notation, names in notations.items():
        path = folder / "own.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(
                [("architecture", "synthetic"), *zip(names, best.values(), strict=True)]
            )
        times = [best_s(lambda path=path: load_accuracies(path), runs)]
        if with_parquet:
            import pyarrow as pa
            from pyarrow import parquet

            path = folder / "own.parquet"
            parquet.write_table(pa.table({"architecture": names, "synthetic": list(best.values())}), path)
            times.append(best_s(lambda path=path: load_accuracies(path), runs))
        print(f"{notation:46} " + " ".join(f"{seconds:9.2f}" for seconds in times))


def _print_lookups(path: Path) -> None:
    accuracies, trainings = load_accuracies(path), read_trainings(path)
    networks = [Architecture.from_index(i) for i in random.Random(0).sample(range(len(BLOX)), LOOK_UPS)]
    names: dict[str, list[object]] = {
        "Architecture": list(networks),
        "index": [a.index for a in networks],
        "graph hash": [a.graph_hash for a in networks],
        "text": [str(a) for a in networks],
        "vector, JSON text": [json.dumps(a.vector) for a in networks],
        "vector, nested lists": [a.vector for a in networks],
    }
    print(f"\n{'one look-up, microseconds':46} {'accuracy':>9} {'all columns':>12}")
    for name, values in names.items():
        print(f"{name:46} {each_us(accuracies.at, values):9.2f} {each_us(trainings.row, values):12.2f}")


if __name__ == "__main__":
    main()
