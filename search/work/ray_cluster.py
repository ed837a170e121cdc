"""Run units on a Ray cluster (`pip install 'harness[cluster]'`), whose nodes share no disk with this machine.

    run_units(units, results, RayCluster(address="10.0.0.1:6379"))

It is called on any node of a cluster that was started with, on the first machine and then on each other,

    RAY_USAGE_STATS_ENABLED=0 ray start --head --include-dashboard=false
    RAY_USAGE_STATS_ENABLED=0 ray start --address=10.0.0.1:6379

Every node needs the same Python and Ray, and this project's dependencies; the project's own code travels with the units, so
that all nodes run that of the caller. A CIFAR folder and a user's own images
have to be on every node under the same path; other tasks need no files.
Inputs and results travel sealed; the results folder is the caller's alone.

Ray itself is only imported in a process of its own, `search.work.ray_driver`: a lost head ends the process that talks to
it, a wrong address makes it wait for minutes, and it prints its news to stdout, here into `ray.log` in the results folder.
"""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar

import search
import space
from search.checked import Checked, Range
from search.work.events import Event, OnProgress
from search.work.processes import ready, start, stop
from search.work.ray_driver import Order, drive
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Outcome
from space.errors import ConfigError, HarnessError
from space.text import counted

LOG = "ray.log"
_ADDRESS = re.compile(r"auto|(?P<host>[^\s:/]+):(?P<port>[0-9]{1,5})")
_REACH_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster(Checked):
    """Compute units on the Ray cluster at `address`: HOST:PORT of its first machine, or "auto" for this machine's.

    Each unit gets `threads_each` processors and as many threads of torch and, where `device` is "cuda", one GPU. A unit whose
    process or node is lost is tried again elsewhere, `retries` times at most. `connect_s` is how long connecting may take,
    `patience_s` how long to wait when no node that is left could run a unit. `modules` are folders of packages, or files
    of modules, that kinds of a user's own are in: they travel too.

    Raises:
        ConfigError: a value is out of its range.
    """

    NAME: ClassVar[str] = "Ray"

    address: str = "auto"
    threads_each: Annotated[int, Range(least=1)] = 1
    device: str = "cpu"
    retries: Annotated[int, Range(least=0)] = 2
    connect_s: float = 60.0
    patience_s: float = 60.0
    modules: tuple[Path, ...] = ()

    def check(self) -> None:
        """Refuse an address of another form. Raises: ConfigError."""
        if not _ADDRESS.fullmatch(self.address):
            raise self.refusal("address", "give HOST:PORT as `ray start --head` prints it, or 'auto'")

    def run(self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress) -> Iterator[Outcome]:
        """Yield how each unit ended, as it ends.

        Raises:
            ConfigError: Ray is not installed, no cluster answers at the address, or `modules` are not there.
            HarnessError: the cluster is lost; finished units are kept.
        """
        if find_spec("ray") is None:
            raise ConfigError("Ray is not installed; pip install 'harness[cluster]', or run on this machine")
        self._reach()
        with tempfile.TemporaryDirectory(prefix="harness-code-") as code:  # here: the driver may be killed
            own = (Path(next(iter(package.__path__))).absolute() for package in (search, space))
            _gather((*own, *self.modules), Path(code))
            yield from self._drive(units, results, on_progress, Path(code))

    def _drive(
        self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress, code: Path
    ) -> Iterator[Outcome]:
        order = Order(
            address=self.address,
            threads=self.threads_each,
            device=self.device,
            retries=self.retries,
            patience_s=self.patience_s,
            code=code,
        )
        log = results.folder / LOG
        driver = start(drive, order, list(units), results.folder, log)
        left = {unit.key: unit for unit in units}
        deadline: float | None = time.monotonic() + self.connect_s
        try:
            while left:
                rest = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not ready([driver], rest):
                    driver.process.kill()  # it hears nothing while it waits for an answer
                    raise self._nobody(f"it did not answer as Ray does within {self.connect_s:g} s")
                said = driver.heard()
                if isinstance(said, HarnessError):
                    raise said
                if isinstance(said, Outcome):
                    del left[said.unit.key]
                    yield said
                elif isinstance(said, Event):
                    deadline = None  # its first message comes once it is connected
                    on_progress(said)
                elif said is None:
                    raise HarnessError(
                        f"Ray: the connection to {self.address} was lost with {counted(len(left), 'unit')} to do; what was "
                        f"done is kept. See {log}, look at the cluster with `ray status`, and run it again"
                    )
        finally:
            stop([driver])

    def _reach(self) -> None:
        """Refuse an unreachable address at once."""
        found = _ADDRESS.fullmatch(self.address)
        if found and found["host"]:
            try:
                socket.create_connection((found["host"], int(found["port"])), _REACH_S).close()
            except (OSError, OverflowError, UnicodeError) as e:
                raise self._nobody(f"nothing listens there: {getattr(e, 'strerror', None) or e}") from e

    def _nobody(self, reason: str) -> ConfigError:
        return ConfigError(
            f"Ray: no cluster at {self.address!r}: {reason}. Start one with `ray start --head --include-dashboard=false`, and "
            "give the address that it prints"
        )


def _gather(paths: Iterable[Path], folder: Path) -> None:
    """Copy packages and modules into a folder, which travels as the units' working folder.

    Not as Ray's `py_modules`: with those a node prefers what it finds under the caller's paths, old or not.
    """
    for path in paths:
        if not path.exists():
            raise ConfigError(
                f"Ray: there is no {path}, which should travel with the units; correct `modules`"
            )
        try:
            if path.is_dir():
                shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(path, folder / path.name)
        except OSError as e:
            raise ConfigError(
                f"{folder}: {path} cannot be copied there, to travel with the units: {e}; free some room, or set TMPDIR"
            ) from e
