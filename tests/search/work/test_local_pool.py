"""The local pool keeps the contract of runners; what is killed or interrupted leaves nothing running."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from contracts.runner import WorkContract, tiny_training
from rigs import with_tests
from rigs.forked_workers import forked_workers

from search.training.history import EpochDone
from search.work.events import Event, UnitProgress, sentence
from search.work.local_pool import LocalPool
from search.work.processes import start
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Runner, run_units
from space.errors import ConfigError, HarnessError

PATIENCE_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def quick_workers() -> Iterator[None]:
    with forked_workers():
        yield


@pytest.mark.training
class TestLocalPool(WorkContract):
    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> Runner:
        return LocalPool(processes=2, retries=1)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def is_deaf_to_interrupts(process: int) -> bool:
    (masked,) = (
        line.split()[1]
        for line in Path(f"/proc/{process}/status").read_text().splitlines()
        if line.startswith("SigBlk:")
    )
    return bool(int(masked, 16) >> (signal.SIGINT - 1) & 1)


def wait_until_none(processes: list[int]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_alive, processes))


def test_a_process_killed_from_outside_costs_one_attempt_and_goes_on_in_its_scratch_folder(
    tmp_path: Path,
) -> None:
    killed: list[int] = []

    def show(event: Event) -> None:
        text = sentence(event)
        if text.endswith("step 1") and not killed:
            killed.append(int(text.split()[-3]))
            os.kill(killed[0], signal.SIGKILL)

    unit = Unit(kind="factories.work:steps", config={"steps": 3, "seconds": 0.3})
    results = ResultStore(folder=tmp_path)
    done = run_units([unit], results, LocalPool(processes=2), show)
    processes = results.get(done[unit.key])["processes"]
    assert processes[0] == killed[0]
    assert killed[0] not in processes[1:]
    assert not results.scratch_of(unit).exists()


@pytest.mark.long
@pytest.mark.slow
# Workers of a killed caller end themselves, so that one tells.
@pytest.mark.parametrize(("sent", "count"), [(signal.SIGINT, 2), (signal.SIGKILL, 1)])
def test_a_caller_that_is_stopped_leaves_no_process_behind(
    tmp_path: Path, sent: signal.Signals, count: int
) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from search.work.events import UnitProgress\n"
        "from search.work.local_pool import LocalPool\n"
        "from search.work.results import ResultStore\n"
        "from search.work.unit_runs import run_units\n"
        "from search.work.unit import Unit\n"
        "if __name__ == '__main__':\n"
        "    count = int(sys.argv[2])\n"
        "    units = [Unit(kind='factories.work:steps', config={'steps': 2, 'seconds': 300, 'n': n}) for n in range(count)]\n"
        "    results = ResultStore(folder=Path(sys.argv[1]))\n"
        "    def show(event):\n"
        "        if isinstance(event, UnitProgress):\n"
        "            print(event.step, flush=True)\n"
        "    run_units(units, results, LocalPool(processes=2), show)\n"
    )
    (tmp_path / "caller.py").write_text(script)
    caller = subprocess.Popen(
        [sys.executable, tmp_path / "caller.py", tmp_path / "results", str(count)],
        env=with_tests(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with caller:
        assert caller.stdout is not None
        try:
            workers = [int(caller.stdout.readline().split()[-3]) for _ in range(count)]
            assert all(map(is_alive, workers))
            assert all(map(is_deaf_to_interrupts, workers))  # it is the caller who stops them
            if sent == signal.SIGINT:
                os.killpg(caller.pid, sent)  # as a terminal does: to all of them
            else:
                os.kill(caller.pid, sent)
            _, errors = caller.communicate(timeout=PATIENCE_S)
        finally:
            caller.kill()
    assert wait_until_none(workers)
    if sent == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1  # the caller's own


def test_one_process_is_the_callers_own_and_its_threads_of_torch_stay_as_they_were(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    unit = Unit(kind="factories.work:steps", config={"steps": 1, "seconds": 0})
    results = ResultStore(folder=tmp_path)
    done = run_units([unit], results, LocalPool(threads_each=before + 1))
    assert results.get(done[unit.key])["processes"] == [os.getpid()]
    assert torch.get_num_threads() == before


@pytest.mark.training
def test_a_training_killed_after_an_epoch_goes_on_after_it(tmp_path: Path) -> None:
    unit, epochs = tiny_training(epochs=3), list[int]()

    def show(event: Event) -> None:
        if isinstance(event, UnitProgress) and isinstance(event.step, EpochDone):
            epochs.append(event.step.number)
            if epochs == [1, 2]:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_units([unit], ResultStore(folder=tmp_path), LocalPool(), show)
    run_units([unit], ResultStore(folder=tmp_path), LocalPool(), show)
    assert epochs == [1, 2, 3]


@pytest.mark.parametrize(
    "wrong", [{"processes": 0}, {"threads_each": 0}, {"retries": -1}, {"processes": 1.5}]
)
def test_a_pool_of_impossible_numbers_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"local pool: .* give a whole number"):
        LocalPool(**wrong)


def test_a_system_that_starts_no_more_processes_is_told_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("multiprocessing.context.BaseContext.Pipe", none_left)
    with pytest.raises(
        HarnessError, match="no more processes can be started: Too many open files; run fewer jobs"
    ):
        start(print)
