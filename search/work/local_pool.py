"""Run units in processes of this machine; a killed process costs one attempt of its unit."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, ClassVar

from search.checked import Checked, Range
from search.work.events import OnProgress, UnitAgain, UnitProgress, UnitStarted
from search.work.kinds import Step
from search.work.processes import Child, ready, start, stop
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Outcome, compute_and_keep, given_up

_MOST = 4096  # processes, or threads of one


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPool(Checked):
    """Compute units in `processes` processes with `threads_each` threads of torch each, on a `device` as torch names it.

    Inputs and results pass through the results folder. A process that dies, killed by hand or for memory, is replaced and its
    unit tried again, `retries` times at most; with `processes` of 1 units are computed in the caller's process. Results depend on
    the threads of torch, in the last bits, not on the number of processes.

    Raises:
        ConfigError: a number is out of its range.
    """

    NAME: ClassVar[str] = "local pool"

    processes: Annotated[int, Range(least=1, most=_MOST)] = 1
    threads_each: Annotated[int, Range(least=1, most=_MOST)] = 1
    device: str = "cpu"
    retries: Annotated[int, Range(least=0, most=_MOST)] = 2

    def run(self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress) -> Iterator[Outcome]:
        """Yield how each unit ended, as it ends."""
        return (self._run_here if self.processes == 1 else self._run)(units, results, on_progress)

    def _run_here(
        self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress
    ) -> Iterator[Outcome]:
        import torch

        before = torch.get_num_threads()
        for unit in units:
            on_progress(UnitStarted(unit=unit))
            report = partial(_report, on_progress, unit)
            try:
                yield compute_and_keep(unit, results, self.device, self.threads_each, report)
            finally:
                torch.set_num_threads(before)

    def _run(self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress) -> Iterator[Outcome]:
        waiting, attempts = deque(units), Counter[str]()
        at_work: dict[Child, Unit] = {}
        idle: list[Child] = []
        try:
            while waiting or at_work:
                while waiting and len(at_work) < self.processes:
                    child = (
                        idle.pop() if idle else start(_serve, results.folder, self.device, self.threads_each)
                    )
                    at_work[child] = waiting.popleft()
                    on_progress(UnitStarted(unit=at_work[child]))
                    with suppress(OSError):  # it is dead, and that is seen below
                        child.link.send(at_work[child])
                for child in ready(list(at_work)):
                    unit, said = at_work[child], child.heard()
                    if isinstance(said, Step):
                        _report(on_progress, unit, said)
                        continue
                    del at_work[child]
                    if said is not None:
                        idle.append(child)
                        yield said
                        continue
                    (ended,) = stop([child])
                    attempts[unit.key] += 1
                    if attempts[unit.key] > self.retries:
                        yield given_up(unit, f"its process {ended}", attempts[unit.key])
                    else:
                        on_progress(UnitAgain(unit=unit, reason=f"its process {ended}"))
                        waiting.append(unit)
        finally:
            stop([*at_work, *idle])


def _report(on_progress: OnProgress, unit: Unit, step: Step) -> None:
    on_progress(UnitProgress(unit=unit, step=step))


def _serve(link: Connection, folder: Path, device: str, threads: int) -> None:
    """Compute units received through the link until the parent closes it."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    results, lock = ResultStore(folder=folder), threading.Lock()

    def send(answer: Outcome | Step) -> None:
        with lock:  # a unit may report from a thread of its own
            link.send(answer)

    while True:
        try:
            unit: Unit = link.recv()
        except EOFError:
            return
        send(compute_and_keep(unit, results, device, threads, send))
