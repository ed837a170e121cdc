"""Kills at random moments of a run in Android's fixed-performance mode: the phone's guard ends the mode each time.

    python benchmarks/guard.py [--kills 100] [--seed 1] [--silence 2]

The phone is a folder: a scripted adb server runs what the real adb client hands it in a real shell (mksh and toybox, as Android
has, where they are installed), and a program of the folder notes which mode it is in. A run watches the phone as campaigns do: it
switches the mode on, renews the heartbeat, and switches the mode off after some seconds. It is killed at a random moment of that
(SIGKILL to it and its adb clients), or the cable is pulled and it is killed then, or adb's daemon ends on the phone, which kills
the guard, too, and the next run has to find what is left. Prints how often the mode was off afterwards, and when. Ends with
status 1 where it was not.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from machine import option_parser
from rigs import with_tests
from rigs.adb_server import SERIAL, Phone, start_adb_server

from harness.devices.adb.client import Adb
from harness.devices.adb.guard import FixedPerformance

RUN_S = 0.5  # so that many kills are while the mode is switched
PER_KILL_S = 60.0
RUN = """
import sys, time
from harness.devices.adb.client import Adb
from harness.devices.adb.clock import ClockOffset, since_boot_ns
from harness.devices.adb.watch import PhoneWatch
offset = lambda: ClockOffset(offset_ns=0, error_ns=0, known_ns=since_boot_ns())
adb, silence_s = Adb(sys.argv[1], "phone"), float(sys.argv[2])
print("begun", flush=True)
while True:
    watch = PhoneWatch(adb, fixed=True, offset=offset, period_s=0.2, silence_s=silence_s)
    watch.open()
    time.sleep(float(sys.argv[3]))
    watch.close()
"""


def is_over(phone: Phone) -> bool:
    """Return whether no guard runs and the mode is not on."""
    return not phone.guards() and phone.mode in ("", "false")


def kill_once(folder: Path, number: int, chance: random.Random, silence_s: float) -> tuple[str, bool, float]:
    """Let a run be killed; return how, whether the mode was on then, and after how many s it was off (infinite: never)."""
    phone = Phone(folder / str(number))
    if shutil.which("mksh") and shutil.which("toybox"):
        phone.use_androids_programs()
    kind = chance.choice(["run", "run", "cable", "adbd"])
    with start_adb_server(phone) as server:
        environment = with_tests() | dict(server.environment())
        run = subprocess.Popen(
            [sys.executable, "-c", RUN, SERIAL, str(silence_s), str(RUN_S)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(chance.uniform(0.0, 4 * RUN_S))
        if kind == "cable":
            server.unplug()
            time.sleep(chance.uniform(0.0, 0.5))
        kill_tree(run)
        was_on = phone.mode == "true"
        if kind == "adbd":
            phone.end_processes()
            os.environ.update(server.environment())
            FixedPerformance(Adb(SERIAL, "phone")).end()  # as the next run does first
        began_s = time.monotonic()
        while not is_over(phone):
            if time.monotonic() - began_s > PER_KILL_S:
                return kind, was_on, float("inf")
            time.sleep(0.02)
        return kind, was_on, time.monotonic() - began_s


def kill_tree(run: subprocess.Popen[bytes]) -> None:
    """Kill a run and the adb clients that it started, which have sessions of their own."""
    os.kill(run.pid, signal.SIGSTOP)  # so that it starts no more of them
    lists = [path / "children" for path in Path(f"/proc/{run.pid}/task").iterdir()]
    pids = [int(pid) for path in lists for pid in path.read_text().split()]
    for pid in (run.pid, *pids):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    run.wait()
    if run.stdout is not None:
        run.stdout.close()


def main() -> int:
    """Run the benchmark."""
    parser = option_parser(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--silence", type=float, default=2.0, help="s without a heartbeat that end the mode; in use 10"
    )
    options = parser.parse_args()
    chance = random.Random(options.seed)
    found: list[tuple[str, bool, float]] = []
    with tempfile.TemporaryDirectory(prefix="harness-guard-") as folder:
        for number in range(options.kills):
            found.append(kill_once(Path(folder), number, chance, options.silence))
    off = [after_s for _, _, after_s in found if after_s < float("inf")]
    kinds = ", ".join(
        f"{count} {kind}" for kind, count in sorted(Counter(kind for kind, _, _ in found).items())
    )
    while_on = sum(was_on for _, was_on, _ in found)
    print(f"{len(found)} kills ({kinds}), {while_on} of them while the mode was on")
    print(
        f"mode off afterwards: {len(off)} of {len(found)}, at the latest {max(off, default=0.0):.1f} s after the kill"
    )
    return 0 if len(off) == len(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
