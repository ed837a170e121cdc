"""Where units of work run: local processes or a Ray cluster; the options of commands that train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.option_groups import takes

if TYPE_CHECKING:
    from search.work.unit_runs import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Where units of work run: local processes or a Ray cluster."""

    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Units of work done at once, a process each.")
    ] = 1
    threads: Annotated[
        int,
        typer.Option(
            "--threads", "-t", min=1, help="Threads of each job; the last bits of results depend on it."
        ),
    ] = 1
    ray: Annotated[
        str, typer.Option("--ray", metavar="ADDRESS", help="Work on the Ray cluster of this address.")
    ] = ""
    accelerator: Annotated[
        str, typer.Option("--accelerator", help="Compute on this device of torch, e.g. cuda.")
    ] = "cpu"

    def runner(self) -> Runner:
        """Return the executor of units. Raises: ConfigError for a value that it refuses."""
        from search.work.local_pool import LocalPool
        from search.work.ray_cluster import RayCluster

        if self.ray:
            return RayCluster(address=self.ray, threads_each=self.threads, device=self.accelerator)
        return LocalPool(processes=self.jobs, threads_each=self.threads, device=self.accelerator)


takes_workers = takes(Workers, "workers")  # gives a command these options
