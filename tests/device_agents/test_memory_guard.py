"""A worker that takes more memory than there is ends as a refusal of its own network, before the system runs out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from factories.model_files import needs_memory
from rigs.agent_client import Client
from rigs.agent_jobs import named, send_job

from device_agents.memory_guard import LOOK_S, TIMING_LOOK_S, MemoryGuard
from device_agents.refusal import Refusal

MIB = 1 << 20
PAGES = MIB // os.sysconf("SC_PAGE_SIZE")  # of a MiB
PID = 7
FORKS = False


class Device:
    """A made-up /proc, and control groups of version 2 or 1, whose numbers in MiB can be set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("proc/self/cgroup", "0::/outer/own\n")
        self.write("proc/self/mountinfo", "30 1 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
        self.memory(available=8000)
        self.worker(100)

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def memory(self, available: int, total: int = 16000) -> None:
        self.write("proc/meminfo", f"MemTotal: {total << 10} kB\nMemAvailable: {available << 10} kB\n")

    def worker(self, held: int) -> None:
        self.write(f"proc/{PID}/statm", f"{held * PAGES * 9} {held * PAGES} 5 6 0 7 0\n")

    def group(self, path: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            self.write(f"sys/fs/cgroup/{path}/{name}", text)

    def guard(self, limit: int | None = None) -> MemoryGuard:
        return MemoryGuard(PID, None if limit is None else limit * MIB, self.folder)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def refused(guard: MemoryGuard) -> str:
    with pytest.raises(Refusal) as caught:
        guard.look(1.0, "load")
    assert (caught.value.kind, caught.value.details) == ("out-of-memory", {"phase": "load"})
    return caught.value.message


def test_a_worker_that_leaves_the_system_less_than_its_reserve_is_refused(device: Device) -> None:
    device.worker(9000)
    device.memory(available=600)
    device.guard().look(0.0, "load")
    device.memory(available=500)
    message = refused(device.guard())
    assert [word for word in ("9.44 GB", "524 MB", "16.78 GB", "'load'") if word not in message] == []
    device.memory(available=50, total=800)  # a small board has a small reserve
    device.guard().look(0.0, "load")
    device.memory(available=39, total=800)
    refused(device.guard())


def test_a_small_worker_is_not_what_fills_the_memory(device: Device) -> None:
    device.memory(available=100)
    device.worker(300)
    device.guard().look(0.0, "load")


def test_a_limit_of_its_own_holds_however_much_is_free(device: Device) -> None:
    device.guard(limit=100).look(0.0, "load")
    device.worker(101)
    assert "--memory-bytes" in refused(device.guard(limit=100))


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_control_group_counts_less_what_its_cache_gives_back(
    device: Device, version: int
) -> None:
    device.worker(900)
    names = ("memory.max", "memory.current", "inactive_file")
    place = "outer"
    if version == 1:
        device.write("proc/self/cgroup", "4:memory:/outer/own\n2:cpu:/\n")
        device.write("proc/self/mountinfo", "31 1 0:29 / /sys/fs/cgroup/m rw - cgroup cgroup rw,memory\n")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        place = "m/outer"
        device.group("m/outer/own", {names[0]: str((1 << 63) - 4096), names[1]: "1", "memory.stat": ""})
    else:
        device.group("outer/own", {names[0]: "max\n", names[1]: "1", "memory.stat": ""})
    limited = {names[0]: str(1000 * MIB), names[1]: str(980 * MIB)}
    device.group(place, limited | {"memory.stat": f"{names[2]} {100 * MIB}\nanon 5\n"})
    device.guard().look(0.0, "load")
    device.group(place, {"memory.stat": f"{names[2]} {10 * MIB}\nanon 5\n"})
    assert "control group" in refused(device.guard())


def test_looks_are_seldom_while_runs_are_timed(device: Device) -> None:
    guard = device.guard(limit=1)
    device.worker(0)
    guard.look(10.0, "load")
    assert guard.due_s == 10.0 + LOOK_S
    guard.look(11.0, "slices")
    assert guard.due_s == 11.0 + TIMING_LOOK_S
    device.worker(100)
    guard.look(11.0 + TIMING_LOOK_S / 2, "slices")
    with pytest.raises(Refusal):
        guard.look(11.0 + TIMING_LOOK_S, "slices")


def test_a_system_that_tells_nothing_has_no_guard(tmp_path: Path) -> None:
    MemoryGuard(PID, 1, tmp_path).look(0.0, "load")


def test_a_model_that_takes_too_much_is_refused_by_a_real_agent_which_measures_the_next(
    agent, tmp_path, models
):
    with Client(agent, tmp_path / "root", arguments=["--memory-bytes", "250000000"]) as client:
        job = send_job(client, models, "onnxruntime")
        good, greedy = job["networks"][0], {**job["reference"], "parts": [client.put(needs_memory(600))]}
        events, answer = client.run({**job, "networks": [good, greedy]})
        assert [event["network"] for event in named(events, "measured")] == [0]
        assert (answer["type"], answer["kind"], answer["network"]) == ("error", "out-of-memory", 1)
        assert "--memory-bytes" in answer["message"]
        assert client.run(job)[1]["type"] == "result"


def test_the_kernel_takes_a_worker_before_any_other_process(client, models):
    client.send("run", job=send_job(client, models, "sleeping", plan={"max_s": 60, "min_slices": 10000}))
    pid = client.await_event("started")["pid"]
    client.await_event("loaded")
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
