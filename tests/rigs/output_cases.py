"""Every command on one made store and library: a test keeps the keys of documents, `scripts/compare-outputs` compares checkouts.

PYTHONPATH=CHECKOUT python tests/rigs/output_cases.py prepare FOLDER    # what the commands read
PYTHONPATH=CHECKOUT python tests/rigs/output_cases.py run FOLDER        # a file of each case's outputs in FOLDER/outputs
python tests/rigs/output_cases.py compare OUTPUTS OUTPUTS
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMPARED = ("mbconv+mbconv/bconv-bconv/conv-bconv", "conv-mbconv+in/bconv-mbconv+in/bconv-mbconv+out")
DEVICE = ("--device", "made-up", "--threads", "2")
SEARCH = ("search", "--accuracies", "synthetic", "--threads", "2")
LIMITS = ("--constraint", "made-up<5ms", "--constraint", "params<=3M")
BLOCKWISE = ("search", "--method", "blockwise", "--library", "library", "--device", "made-up")
FEW = ("--measured-only", "--finalists", "4")
LEARN = ("--task", "synthetic:0:6/4/4", "--epochs", "1")
LOCAL = ("--device", "local", "--runtime", "onnxruntime")
ONE = ("--space", "tiny", "--models", "conv/conv", "--level", "quick", "--sessions", "1")
# What two runs of the same code may differ in: times, and what hangs on them.
TIMES = re.compile(r"(?:^|_)(?:s|ns|utc|seconds|minutes|digest|environment|version|host)$|^weights$|seconds")
DURATION = re.compile(r"\b[0-9]+(?:\.[0-9]+)? (?:s|ms|seconds|min)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command's arguments; its store; whether its values are the same each time, or the keys of its document alone."""

    arguments: tuple[str, ...]
    store: str = "blox.sqlite"
    exact: bool = True


def case(*arguments: str, store: str = "blox.sqlite", exact: bool = True) -> Case:
    return Case(arguments=arguments, store=store, exact=exact)


CASES: dict[str, Case] = {
    "results": case("results", "--json"),
    "results-csv": case("results", "--csv", "--models", "sample:9@7"),
    "results-table": case("results", "--threads", "4"),
    "results-failures": case("results", "--failures", "--json"),
    "store-check": case("store", "check", "--json"),
    "store-show": case("store", "show", "--before", "2024-05-01T00:00:05", "--json"),
    "predict": case("predict", *DEVICE, "--json", "--models", "0,17,sample:3@7"),
    "predict-report": case("predict", *DEVICE),
    "predict-file": case("predict", *DEVICE, "--output", "predicted.csv"),
    "provision": case("provision", "--dry-run", "--json", exact=False),
    "audit": case("audit", *DEVICE, "--json"),
    "compare": case("compare", *COMPARED, *DEVICE, "--json"),
    "compare-precisions": case("compare", "fp32", "int8", *DEVICE, "--json", store="precisions.sqlite"),
    "gate": case("gate", "--baseline", "base.json", "small.onnx", "--json"),
    "dataset": case("dataset", "write", *DEVICE, "--output", "."),
    "devices": case("devices", "--json"),
    "devices-schema": case("devices", "--schema"),
    "search": case(*SEARCH, *LIMITS, "--json", "--pareto", "made-up"),
    "search-table": case(*SEARCH, *LIMITS, "--confidence", "0.9"),
    "search-file": case(*SEARCH, *LIMITS, "--output", "found.csv"),
    "search-objective": case(
        "search", "--objective", "macs", "--threads", "2", *LIMITS, "--top", "3", "--json"
    ),
    "search-evolution": case(*SEARCH, *LIMITS, "--json", "--method", "evolution", "--budget", "80"),
    "search-compare": case(
        "search", "compare", *SEARCH[1:], *LIMITS, "--methods", "random,evolution,linear", "--seeds", "2",
        "--budget", "40", "--json",
    ),
    "report": case("report", *SEARCH[1:], "--device", "made-up", "--output", "report.html"),
    "export": case("export", "conv/bconv/conv-conv", "--format", "onnx", "--output", "model.onnx"),
    "doctor": case("doctor", "--device", "local", "--json", exact=False),
    "pack": case(
        "pack", "--device", "board", "-m", "conv/conv", "--space", "tiny", "-r", "onnxruntime", "--json", exact=False
    ),
    "import": case("import", "job-results.zip", "--json", store="packed.sqlite"),
    "measure": case("measure", *LOCAL, *ONE, "--json", store="new.sqlite", exact=False),
    "profile": case("profile", "conv/conv", "--space", "tiny", *LOCAL, "--json", exact=False),
    "train": case("train", "conv/conv", "mbconv/conv", "--space", "tiny", *LEARN, "--output", "trained", "--json"),
    "distill": case("distill", "trained", "--epochs", "1", "--stage", "1", "--output", "distilled", "--json"),
    "study": case(
        "study", "--settings", "study.json", "--ground-truth", "blox-base-0.csv", "--output", "study", "--json"
    ),
    "blockwise": case(
        *BLOCKWISE, *FEW, "--fine-tune", "0", "--max-latency", "5ms", "--json", "--output", "answer",
        store="tiny.sqlite",
    ),
    "blockwise-tuned": case(
        *BLOCKWISE, *FEW, "--fine-tune", "1", "--fine-tune-epochs", "1", "--max-latency", "5ms", "--json",
        store="tiny.sqlite",
    ),
}  # fmt: skip


def prepare(folder: Path) -> None:
    """Make what the commands read: three stores, a library, devices."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from factories.baselines import write_kept
    from factories.block_libraries import tiny_store, write_library
    from factories.model_files import dense, save
    from factories.stores import in_two_precisions, stored
    from factories.studies import SETTINGS, write_small_truth

    from rigs.packed_jobs import write_without_sessions
    from space import TINY

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blox.sqlite").write_bytes(stored())
    (folder / "tiny.sqlite").write_bytes(tiny_store())
    (folder / "precisions.sqlite").write_bytes(in_two_precisions())
    write_library(folder / "library")
    write_without_sessions(folder)
    write_kept(folder / "base.json", save(dense(), folder / "small.onnx"))
    (folder / "study.json").write_text(SETTINGS.to_json())
    write_small_truth(folder, config=TINY)
    (folder / "devices.toml").write_text((ROOT / "devices.toml").read_text())


def run_case(name: str, folder: Path) -> dict[str, Any]:
    """Run a case in a folder and return what it put out."""
    one = CASES[name]
    before = {path for path in folder.rglob("*") if path.is_file()}
    done = subprocess.run(
        [sys.executable, "-m", "harness.commands.app", *one.arguments],
        cwd=folder,
        env={**os.environ, "HARNESS_STORE": one.store, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    written = sorted(path for path in folder.rglob("*") if path.is_file() and path not in before)
    document = json.loads(done.stdout) if "--json" in one.arguments and done.stdout else None
    return {
        "status": done.returncode,
        "stdout": None if document is not None else DURATION.sub("TIME", done.stdout),
        "stderr": DURATION.sub("TIME", done.stderr),
        "document": None if document is None or not one.exact else without_times(document),
        "keys": None if document is None else sorted(keys_of(document)),
        "files": {
            path.relative_to(folder).as_posix(): content_of(path)
            for path in written
            if not {"objects", "scratch", "units", "results", "cache"} & set(path.relative_to(folder).parts)
        },
    }


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """Yield the keys of a document, `a.b[]` for those within a list."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield f"{path}.{key}".lstrip(".")
            yield from keys_of(inside, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        yield from {key for inside in value for key in keys_of(inside, f"{path}[]")}


def without_times(value: Any) -> Any:
    """Return a document without what differs between two runs of the same code."""
    if isinstance(value, dict):
        return {key: without_times(inside) for key, inside in value.items() if not TIMES.search(key)}
    if isinstance(value, list):
        return [without_times(inside) for inside in value]
    return DURATION.sub("TIME", value) if isinstance(value, str) else value


def content_of(path: Path) -> Any:
    """Return a file's content as far as two runs of the same code agree in it; of other files that they are there."""
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    # Those of trainings hold the time each took.
    if path.suffix in (".csv", ".blox") and "trained" not in path.parts:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "written"


def compare(first: Path, second: Path) -> list[str]:
    """Return the cases in which two folders of outputs differ, with what differs."""
    found = []
    for name in CASES:
        one, other = (json.loads((folder / f"{name}.json").read_text()) for folder in (first, second))
        found += [
            f"{name}: {part} differs\n  - {json.dumps(one[part])[:600]}\n  + {json.dumps(other[part])[:600]}"
            for part in one
            if one[part] != other[part]
        ]
    return found


def main(task: str, *folders: str) -> int:
    paths = [Path(folder).resolve() for folder in folders]
    if task == "prepare":
        prepare(paths[0])
    elif task == "run":
        (paths[0] / "outputs").mkdir()
        for name in CASES:
            sys.stderr.write(f"{name}\n")
            found = run_case(name, paths[0])
            (paths[0] / "outputs" / f"{name}.json").write_text(json.dumps(found, indent=1))
    else:
        differing = compare(*paths)
        sys.stdout.write("\n".join(differing or [f"{len(CASES)} commands put out the same"]) + "\n")
        return bool(differing)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
