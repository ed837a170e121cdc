"""Run units in processes of this machine; a process that is killed costs one attempt of the unit that it had.

Processes are spawned, not forked: torch's threads do not survive a fork. So a script that uses the pool keeps what it does
under `if __name__ == "__main__":`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from harness.errors import ConfigError
from search.work.results import Results
from search.work.running import Done, Failed, Tell, compute_and_keep
from search.work.unit import Unit

_STOP_S = 5.0  # how long a process may take to end before it is killed
_MOST = 4096  # processes, or threads of one


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPool:
    """Compute units in `processes` processes with `threads_each` threads of torch each, on a `device` as torch names it.

    Inputs and results pass through the results folder. A process that dies, killed by hand or for memory, is replaced and
    its unit tried again, `retries` times at most; with one process units are computed in the caller's own, where only the
    caller itself could be killed. Results depend on the threads of torch, in the last bits, not on the number of processes.

    Raises:
        ConfigError: a number is out of its range.
    """

    processes: int = 1
    threads_each: int = 1
    device: str = "cpu"
    retries: int = 2

    def __post_init__(self) -> None:
        for name, least in (("processes", 1), ("threads_each", 1), ("retries", 0)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= _MOST:
                raise ConfigError(
                    f"local pool: {name} = {value!r}; give a whole number from {least} to {_MOST}"
                )

    def run(self, units: Sequence[Unit], results: Results, tell: Tell) -> Iterator[Done | Failed]:
        """Yield how each unit ended, as it ends."""
        return (
            self._run_here(units, results, tell) if self.processes == 1 else self._run(units, results, tell)
        )

    def _run_here(self, units: Sequence[Unit], results: Results, tell: Tell) -> Iterator[Done | Failed]:
        import torch

        before = torch.get_num_threads()
        for unit in units:
            try:
                yield compute_and_keep(unit, results, self.device, self.threads_each, _told_of(unit, tell))
            finally:
                torch.set_num_threads(before)

    def _run(self, units: Sequence[Unit], results: Results, tell: Tell) -> Iterator[Done | Failed]:
        waiting, attempts = deque(units), Counter[str]()
        workers: list[_Worker] = []
        try:
            while waiting or workers:
                while waiting and len(workers) < self.processes:
                    workers.append(_start(results.folder, self.device, self.threads_each))
                for worker in workers:
                    if worker.unit is None and waiting:
                        worker.give(waiting.popleft())
                idle = [worker for worker in workers if worker.unit is None]
                for worker in idle:  # nothing waits: a unit that is tried again finds a fresh process
                    _stop([worker])
                    workers.remove(worker)
                for worker in _ready(workers):
                    unit, answer = worker.unit, worker.answer()
                    assert unit is not None
                    if isinstance(answer, str):
                        _told_of(unit, tell)(answer)
                    elif answer is not None:
                        worker.unit = None
                        yield answer
                    else:
                        workers.remove(worker)
                        ended = _stop([worker])[0]
                        attempts[unit.key] += 1
                        if attempts[unit.key] > self.retries:
                            yield _given_up(unit, ended, attempts[unit.key])
                        else:
                            tell(f"{unit}: its process {ended}; it is tried again")
                            waiting.append(unit)
        finally:
            _stop(workers)


def _told_of(unit: Unit, tell: Tell) -> Tell:
    return lambda text: tell(f"{unit}: {text}")


# --- the parent's side of a process ---------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Worker:
    process: SpawnProcess
    link: Connection
    unit: Unit | None = None

    def give(self, unit: Unit) -> None:
        self.unit = unit
        with suppress(OSError):  # it is dead, and that is seen where its answer is awaited
            self.link.send(unit)

    def answer(self) -> Done | Failed | str | None:
        """Return the end of the unit, a text to tell, or None where the process is dead."""
        try:
            answer: Done | Failed | str | None = self.link.recv() if self.link.poll() else None
        except (OSError, EOFError):
            return None
        return answer


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until a worker says something or dies; what it said before it died is heard first."""
    if not workers:
        return []
    ready = connection.wait([thing for worker in workers for thing in (worker.link, worker.process.sentinel)])
    return [worker for worker in workers if worker.link in ready or worker.process.sentinel in ready]


def _start(folder: Path, device: str, threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, folder, device, threads), daemon=True)
    with _interrupts_held():
        process.start()
    theirs.close()  # so that the link ends when the process does
    return _Worker(process=process, link=ours)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    # A process inherits which signals are blocked: Ctrl-C, which a terminal sends to all, then reaches the parent alone,
    # and the parent stops the others. The tracker, which spawning starts and which unblocks them, has to be there before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(workers: Sequence[_Worker]) -> list[str]:
    """End processes and return how each ended, for a message."""
    for worker in workers:
        worker.process.terminate()
    ends = []
    for worker in workers:
        worker.process.join(_STOP_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        code = worker.process.exitcode or 0
        ends.append(
            f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        )
        worker.link.close()
        worker.process.close()
    return ends


def _given_up(unit: Unit, ended: str, attempts: int) -> Failed:
    return Failed(
        unit=unit,
        message=(
            f"its process {ended}, {attempts} times in a row. The system kills processes (SIGKILL) when memory runs out: "
            "run fewer processes at once or give a smaller batch, then run it again"
        ),
    )


# --- the process ----------------------------------------------------------------------------------


def _serve(link: Connection, folder: Path, device: str, threads: int) -> None:
    """Compute what comes through the link until the parent stops this process, or is no more."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    results, lock = Results(folder=folder), threading.Lock()

    def send(answer: Done | Failed | str) -> None:
        with lock:  # a unit may tell from a thread of its own
            link.send(answer)

    while True:
        try:
            unit: Unit = link.recv()
        except EOFError:
            return
        send(compute_and_keep(unit, results, device, threads, send))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)  # killed, it could not stop this one
