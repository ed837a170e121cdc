"""Kills at random moments of campaigns: nothing measured is lost, doubled or wrong, and nothing half-written is taken for whole.

    python benchmarks/kills.py [--kills 300] [--seed 1] [--minutes 10]

Lanes run beside each other, each on a SQLite file or a PostgreSQL server of its own. A lane runs campaigns over real sshd, with
the real agent and its workers; only the runtime is made up, so that every raw time is known beforehand. Each kill (SIGKILL) is
drawn: of what (harness, agent, worker, sshd of the connection, database: a connection of its server, the server,
or another program that is writing to the same file) and at which moment of which phase. A campaign that was killed is started
again. At the end a store must hold each session that was asked for, once, with the raw times of the device, and all that was
reported as stored, and the device whole parts alone. Ends with status 1 where that is not so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from machine import describe_machine, option_parser
from rigs import with_tests
from rigs.kill_lane import TARGETS

LANES = ("sqlite", "postgresql", "sqlite", "postgresql")
END_S = 120.0  # for the last campaigns, and the verdict


def run_lanes(kills: int, seed: int, limit_s: float, databases: tuple[str, ...] = LANES) -> list[Any]:
    """Run the lanes, each with its share of the kills, and return what each found."""
    share = [kills // len(databases) + (place < kills % len(databases)) for place in range(len(databases))]
    lanes = []
    for number, (database, count) in enumerate(zip(databases, share, strict=True)):
        settings = {"seed": seed, "number": number, "kills": count, "database": database, "limit_s": limit_s}
        command = [sys.executable, "-m", "rigs.kill_lane", json.dumps(settings)]
        lanes.append(
            subprocess.Popen(
                command, env=with_tests(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    found = []
    for lane in lanes:
        stdout, stderr = lane.communicate(timeout=limit_s + END_S)
        if lane.returncode:
            raise RuntimeError(f"a lane ended with status {lane.returncode}: {stderr[-4000:]}")
        found.append(json.loads(stdout))
    return found


def faults(found: list[Any]) -> list[str]:
    """Return all that is wrong, as sentences."""
    said = [fault for lane in found for fault in lane["faults"]]
    for kind in ("lost", "doubled", "wrong"):
        said += [f"{kind}: {fault}" for lane in found for fault in lane["verdict"][kind]]
    return said


def table(found: list[Any]) -> str:
    """Return kills by target and phase."""
    kills: Counter[str] = Counter()
    for lane in found:
        kills.update(lane["kills"])
    targets = list(dict.fromkeys(target for targets in TARGETS.values() for target in targets))
    phases = [*TARGETS, *sorted({key.split(" ")[1] for key in kills} - set(TARGETS))]
    rows = [["", *phases, "all"]]
    for target in targets:
        counts = [kills[f"{target} {phase}"] for phase in phases]
        rows.append([target, *map(str, counts), str(sum(counts))])
    sums = [sum(kills[f"{target} {phase}"] for target in targets) for phase in phases]
    rows.append(["all", *map(str, sums), str(sum(sums))])
    return "\n".join(" ".join([f"{row[0]:9}", *(f"{cell:>11}" for cell in row[1:])]) for row in rows)


def main() -> None:
    """Run the lanes, print the table and the verdict."""
    parser = option_parser(__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0, help="at most")
    asked = parser.parse_args()
    print(describe_machine())
    started_s = time.monotonic()
    found = run_lanes(asked.kills, asked.seed, 60 * asked.minutes - 30)
    print(table(found))
    runs, sessions, failures, wanted = (
        sum(numbers)
        for numbers in zip(
            *((x["runs"], x["verdict"]["sessions"], x["verdict"]["failures"], x["asked"]) for x in found),
            strict=True,
        )
    )
    counts = {
        kind: sum(len(lane["verdict"][kind]) for lane in found) for kind in ("lost", "doubled", "wrong")
    }
    print(
        f"seed {asked.seed}, {time.monotonic() - started_s:.0f} s, {runs} campaigns started; {wanted} sessions asked for, "
        f"{sessions} stored with calibrations, {failures} failures stored; "
        + ", ".join(f"{kind} {count}" for kind, count in counts.items())
    )
    for fault in faults(found):
        print(fault)
    if faults(found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
