"""Does a packed job tell what a campaign over SSH tells? The same networks both ways, in turn, on an sshd of its own on loopback.

    python benchmarks/packed.py [--networks 12] [--sessions 3] [--runtime onnxruntime]

Four rounds: over SSH, packed, over SSH, packed. A packed job is sent to the server and run by a login there, as a batch queue
would run it, and its results are imported. Prints how far the ratios of each two rounds are apart, network by network. Ends with
status 1 unless both ways come to one configuration with the same networks, models and outputs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from statistics import median

from machine import describe_machine, option_parser
from rigs.sshd import Sshd, start_sshd
from scipy.stats import spearmanr

import harness
from harness.devices.transports.ssh import SshTransport
from harness.records import Configuration
from harness.store import Store

JOB_S = 1800.0
ROUNDS = ("SSH 1", "packed 1", "SSH 2", "packed 2")
Network = tuple[str, str, tuple[float, ...] | None]  # its hash, the digest of its model, its outputs
Found = tuple[Configuration, dict[Network, float]]


def main() -> int:
    """Measure the rounds and print how they agree."""
    parser = option_parser(__doc__)
    parser.add_argument("--networks", type=int, default=12)
    parser.add_argument("--sessions", type=int, default=3, help="of each network in a round")
    parser.add_argument("--runtime", default="onnxruntime")
    options = parser.parse_args()
    print(describe_machine())
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()),  # sshd's log
        start_sshd(Path(folder) / "sshd") as server,
    ):
        found = [round_of(name, server, Path(folder), options) for name in ROUNDS]
    (configuration, networks), *others = found
    for configured, measured in others:
        if configured != configuration or measured.keys() != networks.keys():
            print("the rounds differ in their configuration, models or outputs")
            return 1
    print(
        f"{configuration.runtime} {configuration.runtime_version}, {len(networks)} networks, "
        f"{options.sessions} sessions of each in a round: one configuration, the same models and outputs"
    )
    print(f"{'ratios of':<24}{'median apart':>14}{'most':>8}{'in the mean':>13}{'Spearman':>10}")
    for one, other in combinations(range(len(ROUNDS)), 2):
        print(f"{ROUNDS[one] + ', ' + ROUNDS[other]:<24}{apart(found[one][1], found[other][1])}")
    return 0


def round_of(name: str, server: Sshd, folder: Path, options: argparse.Namespace) -> Found:
    """Measure a round; return its configuration and the ratio of each network."""
    device, asked = server.device("board"), f"sample:{options.networks}@11"
    plan = {"level": "quick", "runtimes": [options.runtime], "sessions": options.sessions}
    place = folder / name.replace(" ", "-")
    place.mkdir()
    with harness.open_store(str(place / "store.sqlite")) as store:
        if name.startswith("SSH"):
            rows = harness.measure(device, asked, store=store, **plan)
        else:
            harness.pack(device, asked, store=store, output=place / "job.zip", **plan)
            rows = harness.import_results(run_there(server, place / "job.zip"), store=store)
        ratios = {row.graph_hash: row.estimate.ratio for row in rows}
        return networks_of(store, ratios)


def networks_of(store: Store, ratios: dict[str, float]) -> Found:
    """Return the one configuration of a store, and the ratios by what the networks are and compute."""
    (configuration,) = store.configurations()
    found: dict[Network, float] = {}
    for one in store.sessions(configuration):
        found[one.graph_hash, one.model_digest, one.output] = ratios[one.graph_hash]
    return configuration, found


def run_there(server: Sshd, job: Path) -> Path:
    """Run a job by a login on the server, in a folder of its own there; return the results."""
    transport = SshTransport(server.device("board"))
    there, results = server.folder / job.parent.name, job.with_name("job-results.zip")
    try:
        save = 'mkdir "$1" && cat > "$1/job.zip"'
        transport.run(["sh", "-c", save, "sh", str(there)], stdin=job.read_bytes(), timeout_s=JOB_S)
        done = transport.run(
            [sys.executable, str(there / "job.zip"), "--folder", str(there)], timeout_s=JOB_S
        )
        if done.status:
            sys.exit(f"the job ended with status {done.status}: {done.stdout.decode()}{done.stderr}")
        results.write_bytes((there / results.name).read_bytes())
    finally:
        transport.close()
    return results


def apart(one: dict[Network, float], other: dict[Network, float]) -> str:
    """Return how far the ratios of two rounds are apart."""
    differences = [other[key] / one[key] - 1 for key in one]
    sizes = [abs(difference) for difference in differences]
    rank = float(spearmanr(list(one.values()), [other[key] for key in one]).statistic)
    return f"{median(sizes):14.2%}{max(sizes):8.2%}{sum(differences) / len(differences):+13.2%}{rank:10.3f}"


if __name__ == "__main__":
    sys.exit(main())
