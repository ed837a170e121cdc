"""A Ray cluster of two nodes on this machine, a head and another one: `ray_nodes.py`, until stdin ends.

It prints the address; a line `kill` kills the other node with all its processes, unannounced, and prints `killed`.
"""

from __future__ import annotations

import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

STORE_BYTES = 80 * 2**20  # Ray takes no less
SETTINGS = {
    # Ray takes half a minute to miss a node that went silent; seconds are long enough on one machine.
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
    # Units get processes of their own, with the code that came with them: others need not be started.
    "prestart_worker_first_driver": False,
    "enable_worker_prestart": False,
}


def main() -> None:
    """Start the nodes, print the address, and kill the other one when stdin says so."""
    from ray._private.node import Node
    from ray.cluster_utils import Cluster

    # Ray starts it, though without a dashboard, for modules of its own.
    Node.start_api_server = lambda *_, **__: None

    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_log_monitor": False}
    head = {"include_dashboard": False, "no_monitor": True, "_system_config": SETTINGS}
    cluster = Cluster(initialize_head=True, head_node_args=node | head)
    other = cluster.add_node(**node)
    _say(cluster.address)
    for _ in sys.stdin:
        cluster.remove_node(other, allow_graceful=False)
        _say("killed")
    cluster.shutdown()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
