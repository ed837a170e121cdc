"""What runs waited for a core: by made-up accounts of threads, and by a real program that takes turns with this one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from device_agents import run_delay
from device_agents.core_probe import compete
from device_agents.run_delay import CoreTimes, RunDelay, thread_clock
from device_agents.sampling import Stopwatch

HAS_SCHEDSTAT = Path("/proc/self/schedstat").exists()


class Threads:
    """A made-up task folder: each thread's `schedstat` is its time on a core, its wait and its turns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "task"
        self.folder.mkdir()

    def tell(self, thread: int, waited_ns: int, run_ns: int = 10**9) -> None:
        (self.folder / str(thread)).mkdir(exist_ok=True)
        (self.folder / str(thread) / "schedstat").write_text(f"{run_ns} {waited_ns} 17\n")

    def end(self, thread: int) -> None:
        (self.folder / str(thread) / "schedstat").unlink()
        (self.folder / str(thread)).rmdir()

    def delay(self, is_one_thread: bool = False, throttled: object = None) -> RunDelay:
        return RunDelay(is_one_thread, throttled, task_dir=str(self.folder))


@pytest.fixture
def threads(tmp_path):
    return Threads(tmp_path)


def test_the_waits_of_all_threads_are_summed(threads):
    threads.tell(7, 1000)
    threads.tell(8, 200)
    delay = threads.delay()
    assert delay.source == "schedstat"
    assert delay.read() == (1200, 0)
    threads.tell(8, 5200)
    assert delay.read() == (6200, 0)


def test_threads_that_were_started_since_count_once_they_are_looked_for(threads):
    threads.tell(7, 1000)
    delay = threads.delay()
    threads.tell(9, 50)
    assert delay.read()[0] == 1000
    delay.find_threads()
    assert delay.read()[0] == 1050


def test_the_wait_of_a_thread_that_has_ended_stays_what_it_was_in_between(threads, monkeypatch):
    """An account that shrank would hide the next run's wait."""
    threads.tell(7, 1000)
    threads.tell(8, 200)
    delay = threads.delay()
    assert delay.read()[0] == 1200
    read = os.pread

    def pread(fd, size, offset):  # as the kernel answers of a thread that has ended
        if (threads.folder / "8") in Path(f"/proc/self/fd/{fd}").readlink().parents:
            raise ProcessLookupError(3, "No such process")
        return read(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    threads.tell(7, 1500)
    assert delay.read()[0] == 1700


def test_the_file_of_a_thread_that_has_ended_is_closed_when_threads_are_looked_for(threads):
    threads.tell(7, 1000)
    threads.tell(8, 200)
    open_before = count_open()
    delay = threads.delay()
    assert delay.read()[0] == 1200 and count_open() == open_before + 2
    threads.end(8)
    delay.find_threads()
    assert delay.read()[0] == 1000 and count_open() == open_before + 1


def count_open() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("text", ["", "none\n", "0 0 0\n"])
def test_accounts_that_are_not_kept_are_no_source(threads, text):
    (threads.folder / "7").mkdir()
    (threads.folder / "7/schedstat").write_text(text)
    assert threads.delay().source == ""
    assert threads.delay().read() == (0, 0)
    assert threads.delay(is_one_thread=True).source == "cpu-time"


def test_a_system_without_accounts_tells_of_one_thread_by_its_cpu_time_and_of_more_nothing(
    tmp_path, monkeypatch
):
    nowhere = str(tmp_path / "nowhere")
    assert RunDelay(False, task_dir=nowhere).source == ""
    assert RunDelay(False, task_dir=nowhere).read() == (0, 0)
    one = RunDelay(True, task_dir=nowhere)
    assert one.source == "cpu-time"
    before = one.read()
    time.sleep(0.05)
    after = one.read()
    assert before[0] == after[0] == 0 and after[1] - before[1] > 40000000
    monkeypatch.setattr(run_delay, "thread_clock", lambda: None)
    assert RunDelay(True, task_dir=nowhere).source == ""
    assert not Stopwatch(RunDelay(True, task_dir=nowhere)).is_informed


def test_a_system_without_clocks_of_threads_has_none(monkeypatch):
    def refuse():
        raise OSError(22, "Invalid argument")

    assert thread_clock() is time.thread_time_ns
    monkeypatch.setattr(time, "thread_time_ns", refuse)
    assert thread_clock() is None
    monkeypatch.delattr(time, "thread_time_ns")
    assert thread_clock() is None


def test_what_a_quota_took_counts_as_waited_where_several_threads_compute(threads):
    class Throttled:
        def __init__(self, *told_us):
            self._told_us = list(told_us)

        def read(self):
            return self._told_us.pop(0)

    threads.tell(7, 1000)
    delay = threads.delay(throttled=Throttled(0, 30, None))
    assert [delay.read()[0] for _ in range(3)] == [1000, 31000, 1000]
    one = threads.delay(is_one_thread=True, throttled=Throttled())
    assert one.read()[0] == 1000, "of one thread wall time less CPU time tells it already"


def test_a_sample_tells_by_how_much_the_accounts_grew_in_it_and_since_the_one_before():
    class Accounts:
        source = "schedstat"

        def __init__(self, *reads):
            self._reads = list(reads)

        def read(self):
            return self._reads.pop(0)

    accounts = Accounts((100, 0), (150, 10), (150, 400), (190, 390), (180, 395))
    stopwatch = Stopwatch(accounts)
    first = stopwatch.sample(lambda: None, 1)
    assert (first.gap_ns, first.delay_ns) == (50, 390)
    second = stopwatch.sample(lambda: None, 1)
    assert (second.gap_ns, second.delay_ns) == (40, 5), "no account shrinks below nothing waited"


@pytest.mark.parametrize("source", ["schedstat", "cpu-time"])
def test_runs_beside_a_busy_program_wait_and_those_of_a_sleeping_core_do_not_matter(source, tmp_path):
    """A real program on the same core: what both accounts say of half a second of work."""
    if source == "schedstat" and not HAS_SCHEDSTAT:
        pytest.skip("the kernel tells no run delays")
    core = max(os.sched_getaffinity(0))
    found = {}

    def work():
        os.sched_setaffinity(0, {core})  # of this thread alone
        task_dir = "/proc/self/task" if source == "schedstat" else str(tmp_path / "none")
        delay = RunDelay(is_one_thread=source == "cpu-time", task_dir=task_dir)
        assert delay.source == source
        stopwatch = Stopwatch(delay)
        end_s = time.monotonic() + 0.5
        samples = []
        while time.monotonic() < end_s:
            samples.append(stopwatch.sample(lambda: sum(range(1000)), 20))
        waited_ns = sum(sample.delay_ns + sample.gap_ns for sample in samples)
        found.update(share=waited_ns / 0.5e9, clean=sum(sample.delay_ns == 0 for sample in samples))

    competitor = compete(core)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        competitor.end()
    assert found["share"] > 0.25, "it is a half where nothing else runs"


def core_times(folder, text):
    path = folder / "stat"
    path.write_text(text)
    return CoreTimes(str(path))


def line(core, user=0, idle=0, iowait=0, steal=0):
    return f"cpu{core} {user} 0 0 {idle} {iowait} 0 0 {steal} 0 0\n"


def test_steal_is_that_of_the_named_cores_since_then(tmp_path):
    then = core_times(
        tmp_path, "cpu 9 9 9 9 9 9 9 9\n" + line(0, steal=50) + line(1, steal=200) + line(10, steal=7)
    )
    now = core_times(
        tmp_path, "cpu 9 9 9 9 9 9 9 9\n" + line(0, steal=53) + line(1, steal=240) + line(10, steal=7)
    )
    ticks_a_s = os.sysconf("SC_CLK_TCK")
    assert now.stolen_s(then, [1]) == 40 / ticks_a_s
    assert now.stolen_s(then, [0, 1]) == 43 / ticks_a_s
    assert now.stolen_s(then, [10]) == 0


def test_the_busiest_of_the_other_cores_counts_and_waiting_for_a_disk_is_idle(tmp_path):
    then = core_times(tmp_path, line(0) + line(1) + line(2))
    now = core_times(
        tmp_path, line(0, user=100) + line(1, user=30, idle=60, iowait=10) + line(2, user=5, idle=95)
    )
    assert now.others_busy(then, [0]) == pytest.approx(0.3)
    assert now.others_busy(then, [0, 1]) == pytest.approx(0.05)
    assert now.others_busy(then, [1]) == 1.0
    assert now.others_busy(then, [0, 1, 2]) == 0.0, "there are no others"
    assert now.others_busy(now, [0]) is None, "no time has passed"


def test_programs_that_spread_over_many_cores_keep_each_of_them_a_little_busy(tmp_path):
    others = range(1, 16)
    then = core_times(tmp_path, line(0) + "".join(map(line, others)))
    for busy, share in ((2, 0.15), (15, 1.0)):
        now = core_times(
            tmp_path, line(0, user=100) + "".join(line(core, busy, 100 - busy) for core in others)
        )
        assert now.others_busy(then, [0]) == pytest.approx(share)


@pytest.mark.parametrize(
    "text", ["", "cpu0 1 0 1 100\n", "cpu0 1 0 1 1 0 0 0 many\n", "cpu1 1 0 1 1 0 0 0 5\n"]
)
def test_what_is_not_told_of_the_cores_is_none(tmp_path, text):
    absent, whole = CoreTimes(str(tmp_path / "absent")), core_times(tmp_path, line(0) + line(2))
    for told in (absent, core_times(tmp_path, text)):
        assert told.stolen_s(told, [0]) is None
        assert told.stolen_s(whole, [0]) is None
        assert told.others_busy(whole, [2]) is None


def test_times_of_cores_that_something_else_is_mounted_over_are_not_those_of_the_machine(tmp_path):
    """As lxcfs does in a container: what others keep busy is not in it, and cores that it leaves out look absent."""
    (tmp_path / "stat").write_text("cpu  1 0 1 9 0 0 0 0 0 0\ncpu0 1 0 1 9 0 0 0 0 0 0\n")
    asked = "from device_agents.run_delay import CoreTimes; t = CoreTimes(); print(t.is_told, t.others_busy(t, [0]))"
    command = f"mount --bind {tmp_path}/stat /proc/stat || exit 77; exec {sys.executable} -c '{asked}'"
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    if result.returncode in (1, 77):
        pytest.skip(f"this system lets nobody mount: {result.stderr}")
    assert (result.stdout, result.stderr) == ("False None\n", "")
