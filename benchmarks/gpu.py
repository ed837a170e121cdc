"""What a machine with a GPU makes of this project's GPU paths: training, distilling, measuring; `scripts/check-gpu` runs it.

    scripts/check-gpu [--output gpu.json] [--only training distilling] [--most 470] [--device cuda] [--tiny] [--tflite FILE...]

Each check of `benchmarks/gpu_checks.py` runs in a process of its own with a time limit of its own, so that one that
fails or hangs ends nothing else; all together take at most eight minutes. The most important ones come first; one whose
time is no longer left is skipped, and said to be. Printed is what each found, and in the end a table; the JSON file,
written anew after each check, holds all figures. The exit status is 1 where a check failed, hung, or found a fault.
`--device cpu --tiny` tries the script itself on any machine: its figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_checks import CHECKS, NotThere

ROOT = Path(__file__).parents[1]
MOST_S = 470.0
MOST_SPARE = 0.5  # of its own time: one that hangs leaves time to the others
FINE = ("ok", "not there", "skipped")
USUAL = {"spaces": ["tiny", "blox"], "images": 1024, "epoch_images": 6_400, "networks": 10} | {
    "steps": 2,
    "blocks": 0,
}
TINY = {"spaces": ["tiny"], "images": 128, "epoch_images": 256, "networks": 3, "steps": 1, "blocks": 3}


def main() -> None:
    """Run the checks, print what they found, and write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="the JSON file to write")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--most", type=float, default=MOST_S, help="seconds for all checks together")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to try the script itself")
    parser.add_argument(
        "--tflite",
        nargs="+",
        type=Path,
        default=[],
        help="models of the check litert, where TensorFlow is absent",
    )
    parser.add_argument("--check", choices=list(CHECKS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    for name, value in (TINY if chosen.tiny else USUAL).items():
        setattr(chosen, name, value)
    if chosen.check:
        save_outcome(chosen)
        return
    sys.exit(run_all(chosen))


Run = Callable[[str, argparse.Namespace, float], dict[str, Any]]


def run_all(
    chosen: argparse.Namespace, run: Run | None = None, clock_s: Callable[[], float] = time.monotonic
) -> int:
    """Run the chosen checks one after another, each by `run`; return the exit status."""
    begin_s = clock_s()
    document: dict[str, Any] = {"command": "scripts/check-gpu " + " ".join(sys.argv[1:])}
    document |= {"time_utc": datetime.now(UTC).isoformat(timespec="seconds"), "checks": {}}
    for place, name in enumerate(chosen.only):
        limit_s = limit_of(name, chosen.only[place + 1 :], chosen.most - (clock_s() - begin_s))
        outcome = skipped(name) if limit_s is None else (run or run_one)(name, chosen, limit_s)
        document["checks"][name] = outcome
        document["seconds"] = clock_s() - begin_s
        write_whole(chosen.output, json.dumps(document, indent=1) + "\n")  # what was found so far stays
        print(f"\n{name}: {outcome['status']}, {outcome['seconds']:.0f} s", flush=True)
        for line in outcome["lines"]:
            print(f"  {line}")
        for fault in outcome["faults"]:
            print(f"  FAULT {fault}")
    print(f"\n{'check':16}{'status':12}{'seconds':>8}  faults")
    for name, outcome in document["checks"].items():
        print(f"{name:16}{outcome['status']:12}{outcome['seconds']:8.0f}  {table_end(outcome)}")
    print(f"{document['seconds']:.0f} s; all figures: {chosen.output}")
    return int(any(outcome["status"] not in FINE for outcome in document["checks"].values()))


def table_end(outcome: dict[str, Any]) -> str:
    """Return how many faults a check found, or why it did not run."""
    is_left_out = outcome["status"] in ("not there", "skipped")
    return str(outcome["lines"][0] if is_left_out else len(outcome["faults"]))


def limit_of(name: str, later: Sequence[str], left_s: float) -> float | None:
    """Return how long a check may take: its own time, half as much again where it is spare; None without it."""
    own_s = CHECKS[name][1]
    spare_s = left_s - own_s - sum(CHECKS[one][1] for one in later)
    return None if left_s < own_s else own_s + min(max(spare_s, 0.0), MOST_SPARE * own_s)


def skipped(name: str) -> dict[str, Any]:
    """Return the outcome of a check for which no time is left."""
    why = f"no time left: it needs {CHECKS[name][1]:.0f} s; scripts/check-gpu --only {name}"
    return {"status": "skipped", "figures": {}, "lines": [why], "faults": [], "seconds": 0.0}


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or as it was."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.replace(path)


def run_one(name: str, chosen: argparse.Namespace, limit_s: float) -> dict[str, Any]:
    """Run a check in a process group of its own, which its end or its limit ends; return what it found, or how it failed."""
    begin = time.monotonic()
    output = chosen.output.with_name(f"{chosen.output.name}.{name}.part")
    command = [sys.executable, __file__, "--check", name, "--output", str(output), "--device", chosen.device]
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    process = subprocess.Popen(
        [
            *command,
            *(["--tiny"] if chosen.tiny else []),
            *(["--tflite", *map(str, chosen.tflite)] if chosen.tflite else []),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in paths if path)),
    )
    try:
        _, said = process.communicate(timeout=limit_s)
        if process.returncode == 0:
            found: dict[str, Any] = json.loads(output.read_text())
            return found | {"seconds": time.monotonic() - begin}
        return failed("failed", f"ended with {process.returncode}: {said[-1500:]}", time.monotonic() - begin)
    except subprocess.TimeoutExpired:
        end_group(process)
        hung = failed("hung", f"did not end within {limit_s:.0f} s", time.monotonic() - begin)
        part: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
        return hung | {key: part[key] for key in ("figures", "lines") if key in part}
    finally:
        end_group(process)
        output.unlink(missing_ok=True)


def end_group(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a check."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def save_outcome(chosen: argparse.Namespace) -> None:
    """Do a check in this process and keep what it found, what it has so far, too."""
    chosen.keep = lambda found: write_whole(chosen.output, json.dumps(asdict(found)))
    write_whole(chosen.output, json.dumps(outcome_of(chosen)))


def outcome_of(chosen: argparse.Namespace) -> dict[str, Any]:
    """Do a check in this process; whatever it raises is what it found."""
    try:
        found = CHECKS[chosen.check][0](chosen)
    except NotThere as missing:
        return {"status": "not there", "figures": {}, "lines": [str(missing)], "faults": []}
    except Exception as error:  # noqa: BLE001 - a check that fails is told of among the others
        told = traceback.format_exc()[-1500:]
        return failed("failed", f"{type(error).__name__}: {error}\n{told}", 0.0)
    return {"status": "fault" if found.faults else "ok"} | asdict(found)


def failed(status: str, why: str, seconds: float) -> dict[str, Any]:
    """Return the outcome of a check that found nothing."""
    return {"status": status, "figures": {}, "lines": [], "faults": [why], "seconds": seconds}


if __name__ == "__main__":
    main()
