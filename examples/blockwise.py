"""From nothing to a trained network within a latency limit on this machine, by commands alone.

    python examples/blockwise.py                 # or blockwise.py FOLDER, which then keeps everything

A teacher of the tiny space learns scikit-learn's digits; every block of both of its stages is distilled; some networks are
measured on this machine; and the search puts 20 networks together from the blocks, fine-tunes the best two with the teacher,
measures the finished ones themselves, and exports the answer. The limit is the median of what was measured. All of it is
short, a real search trains longer: it took 16 minutes on two busy cores, 10 of them for measuring at level final.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TEACHER = "conv-conv+in/conv-conv+in"


def main(folder: Path) -> None:
    """Run the commands one after another and say what came of them."""
    teacher, library, answer = folder / "teacher", folder / "library", folder / "answer"
    harness(
        folder, "train", TEACHER, "--space", "tiny", "--task", "digits", "--epochs", "6", "-o", str(teacher)
    )
    harness(folder, "distill", str(teacher), "--epochs", "2", "-o", str(library))
    local = ("--device", "local", "--runtime", "onnxruntime")
    rows = harness(
        folder, "measure", *local, "--space", "tiny", "--models", "sample:12@3", "-l", "quick", "--json"
    )
    limit_ms = statistics.median(row["latency_ms"] for row in json.loads(rows))
    harness(
        folder,
        *("search", "--method", "blockwise", "--library", str(library), *local),
        *("--max-latency", f"{limit_ms:.4f}ms", "--finalists", "20", "--fine-tune", "2"),
        *("--fine-tune-epochs", "3", "--verify", "2", "-o", str(answer)),
        fails=(1,),  # no finished network is within the limit as measured: the answer says so, too
    )
    found = json.loads((answer / "answer.json").read_text())
    student = next(one for one in found["students"] if one["architecture"] == found["architecture"])
    latency = found["costs"]["local"]
    print(f"\nteacher {TEACHER}: test {found['teacher']['test_top1_percent']:.1f} %")
    print(
        f"found {found['architecture']}: test {student['plugged_in']['test_top1_percent']:.1f} % as put together, "
        f"{student['fine_tuned']['test_top1_percent']:.1f} % fine-tuned"
    )
    print(
        f"its own latency: {latency['value']:.4f} ms, grade {latency['grade']}, limit {limit_ms:.4f} ms: "
        f"{'within' if found['within_limits'] else 'NOT within'} the limit"
    )
    print(f"files: {', '.join(sorted(found['files']))}")


def harness(folder: Path, *arguments: str, fails: tuple[int, ...] = ()) -> str:
    """Run a command of the harness with a store of its own, shown as one would type it; return what it printed."""
    print(f"\n$ harness {shlex.join(arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "harness.commands.app", *arguments],
        env={**os.environ, "HARNESS_STORE": str(folder / "store.sqlite")},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in (0, *fails):
        sys.exit(done.returncode)
    if "--json" not in arguments:
        print(done.stdout, end="")
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="harness-blockwise-") as scratch:
            main(Path(scratch))
