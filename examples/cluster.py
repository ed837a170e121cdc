"""Train four tiny networks on this machine and on a Ray cluster that loses a node meanwhile: the results are equal.

    pip install 'harness[cluster]'
    python examples/cluster.py          # or cluster.py EPOCHS

The cluster is a real one of two nodes, both on this machine, each with its own store of objects; one of them is killed once both
are at work. The images are scikit-learn's digits.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from search.training.recipe import Recipe
from search.training.tasks import load_task
from search.work.events import Event, UnitDone, UnitProgress, sentence
from search.work.local_pool import LocalPool
from search.work.ray_cluster import RayCluster
from search.work.results import ResultStore
from search.work.trainings import training_unit
from search.work.unit_runs import run_units
from space import TINY, Architecture

NETWORKS = ("conv/conv", "mbconv/conv", "bconv/mbconv", "conv-bconv+in/bconv")
STORE_BYTES = 80 * 2**20  # of objects, a node
SECONDS_TO_MISS_A_NODE = {  # Ray takes half a minute, as networks between machines have pauses
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
}


def main(epochs: int) -> None:
    """Train both ways and compare the weights, bit by bit."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    task = load_task("digits", TINY)
    recipe = Recipe(epochs=epochs, batch=64)
    units = [training_unit(Architecture.parse(text, TINY), task, recipe) for text in NETWORKS]

    with tempfile.TemporaryDirectory() as folder:
        here, there = (ResultStore(folder=Path(folder) / name) for name in ("here", "there"))
        begin = time.perf_counter()
        local = run_units(units, here, LocalPool(processes=2))
        print(f"two processes on this machine: {len(local)} networks in {time.perf_counter() - begin:.1f} s")

        node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
        cluster = Cluster(
            initialize_head=True,
            head_node_args={**node, "include_dashboard": False, "_system_config": SECONDS_TO_MISS_A_NODE},
        )
        other = cluster.add_node(**node)
        at_work, done, killed = set[str](), set[str](), False

        def show(event: Event) -> None:
            nonlocal killed
            print(f"  {sentence(event)}")
            if isinstance(event, UnitDone):
                done.add(event.unit.key)
            elif isinstance(event, UnitProgress):
                at_work.add(event.unit.key)
            if not killed and len(at_work - done) == 2:  # a node has one processor: both are at work
                killed = True
                cluster.remove_node(other, allow_graceful=False)
                print("  -- one of the two nodes was killed")

        begin = time.perf_counter()
        try:
            far = run_units(units, there, RayCluster(address=cluster.address), show)
        finally:
            cluster.shutdown()
        lost = "that lost one" if killed else "of which none was lost: give more epochs"
        print(f"a cluster of two nodes {lost}: {len(far)} networks in {time.perf_counter() - begin:.1f} s")

        equal = 0
        for unit in units:
            one, two = here.get(local[unit.key]), there.get(far[unit.key])
            same = all(two["weights"][name].equal(tensor) for name, tensor in one["weights"].items())
            equal += same
            right = 100 * two["test"]["first"] / two["test"]["images"]
            told = "equal weights" if same else "OTHER WEIGHTS"
            print(f"{unit.config['architecture']}: {told}, {right:.1f}% of test images right")
    if equal < len(units):
        sys.exit(f"{len(units) - equal} of {len(units)} networks differ")


if __name__ == "__main__":
    if find_spec("ray") is None:
        sys.exit("this example needs Ray: pip install 'harness[cluster]'")
    main(int(sys.argv[1]) if sys.argv[1:] else 3)
