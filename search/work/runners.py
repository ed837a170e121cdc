"""Choice of the runner of units: local processes or a Ray cluster."""

from __future__ import annotations

from search.work.local_pool import LocalPool
from search.work.ray_cluster import RayCluster
from search.work.unit_runs import Runner


def make_runner(*, jobs: int = 1, threads: int = 1, ray: str = "", device: str = "cpu") -> Runner:
    """Return a runner of `jobs` local processes, or of the Ray cluster of an address, with `threads` each on a device of torch.

    Raises: ConfigError for a value that the runner refuses, or when Ray is named and not installed.
    """
    if ray:
        return RayCluster(address=ray, threads_each=threads, device=device)
    return LocalPool(processes=jobs, threads_each=threads, device=device)
