"""What the doctor says of a device: each remedy is one that this device can follow."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rigs.lying_device import LyingDevice

from device_agents.locks import MachineLock
from harness.devices import doctor
from harness.devices.config import Device, LocalDevice, SshDevice
from harness.devices.doctor import (
    Check,
    _board,
    _busy_cores,
    _conditions,
    _driver,
    _forms,
    _grants,
    _limits,
    _machine_lock,
    _runtimes,
    _sensors,
    _trials,
    diagnose,
    diagnose_all,
    exit_status,
)
from harness.devices.runtimes import RuntimeUse
from harness.devices.trial import NOT_KNOWN, SHARED_WORKER
from harness.errors import AgentError, LinkError

HELLO: dict[str, Any] = {"cores": [0, 1], "clusters": [[0, 1]]}


@pytest.mark.parametrize(
    ("conditions", "says", "says_not"),
    [
        ({"governors": {"0": "ondemand", "1": "ondemand"}}, "sudo cpupower", "Android"),
        ({"governors": {"0": "schedutil"}, "power_mode": "15W"}, "jetson_clocks = true", "cpupower"),
        ({"governors": {"0": "walt", "1": "walt"}, "android": "14"}, "Android", "sudo"),
        ({}, "cannot be set here", "sudo"),
    ],
)
def test_the_remedy_for_free_clocks_is_one_that_the_device_can_follow(
    conditions: dict[str, Any], says: str, says_not: str
) -> None:
    checks = {check.name: check for check in _conditions(SshDevice(name="a", address="a"), HELLO, conditions)}
    assert checks["clocks"].status == "warn"
    assert says in checks["clocks"].remedy
    assert says_not not in checks["clocks"].remedy


def test_a_broken_runtime_is_warned_of_where_it_is_to_work() -> None:
    broken = [{"name": name, "message": "of version 9"} for name in ("tflite", "litert")]
    hello = HELLO | {"runtimes": [], "broken": broken}
    usual, asking = LocalDevice(name="a"), LocalDevice(name="a", runtimes=("litert:gpu",))
    warned = [
        [check.found.split()[0] for check in _runtimes(device, hello) if check.status == "warn"]
        for device in (usual, asking)
    ]
    assert warned == [["tflite"], ["tflite", "litert"]]
    assert all("harness provision --device a" in check.remedy for check in _runtimes(usual, hello)[:1])


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ({"throttled": 0x1}, "Raspberry Pi throttled: under-voltage"),
        ({"thermal_status": 3}, "Android thermal status 3 (severe)"),
        ({"gpus": [{"index": 0, "reasons": 0x40}]}, "NVIDIA GPU 0 throttled: hardware thermal slowdown"),
        ({"throttled": 0x50000, "thermal_status": 0, "gpus": [{"reasons": 0x1}]}, ""),
    ],
)
def test_a_device_that_holds_itself_back_now_is_warned_of(conditions: dict[str, Any], says: str) -> None:
    checks = _conditions(SshDevice(name="a", address="a"), HELLO, conditions)
    found = [check for check in checks if check.name == "throttled"]
    assert [check.found for check in found] == ([says] if says else [])
    assert all(check.status == "warn" and check.remedy for check in found)


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ({"board": "Raspberry Pi 4 Model B", "throttled": 0x50000}, "warn throttled before: under-voltage, throttled"),
        ({"board": "Raspberry Pi 4 Model B", "throttled": 0}, ""),
        ({"board": "Raspberry Pi 4", "probe_errors": {"throttled": "status 255"}}, "warn throttled: whether the board"),
        ({"supply": {"max_ma": 3000, "volts": 5.1}}, "warn supply: agreed to give 3000 mA, 5.10 V arrive"),
        ({"supply": {"max_ma": 5000, "volts": 4.7}}, "warn supply: agreed"),
        ({"supply": {"max_ma": 5000}}, "ok supply: agreed to give 5000 mA"),
        ({"fans_rpm": {"pwmfan fan1": 2140}}, "ok fan: pwmfan fan1: 2140 rpm"),
        ({"board": "NVIDIA Jetson Orin Nano Developer Kit"}, "warn power mode: which mode the board is in cannot be read"),
        ({"power_mode": "15W"}, "ok power mode: 15W"),
    ],
)  # fmt: skip
def test_a_board_tells_of_its_supply_fans_and_mode_with_remedies(
    conditions: dict[str, Any], says: str
) -> None:
    checks = _board(conditions)
    assert [f"{check.status} {check.name}: {check.found}".startswith(says) for check in checks] == [
        True
    ] * bool(says)
    assert all(bool(check.remedy) == (check.status == "warn") for check in checks)


H100 = {"index": 0, "name": "NVIDIA H100 80GB HBM3", "reasons": 0x1, "temp_c": 33.0, "clock_mhz": 345}


@pytest.mark.parametrize(
    ("gpus", "says"),
    [
        ([], []),
        (
            [H100 | {"max_clock_mhz": 1980, "power_w": 71.39}],
            ["0: NVIDIA H100 80GB HBM3, 33 C, clock 345 MHz now, 1980 MHz at most, 71 W"],
        ),
        ([H100, {"index": 1}], ["0: NVIDIA H100 80GB HBM3, 33 C, clock 345 MHz now", "1: no name told"]),
    ],
)
def test_each_gpu_is_told_with_what_it_tells_of_itself(gpus: list[dict[str, Any]], says: list[str]) -> None:
    checks = _conditions(SshDevice(name="a", address="a"), HELLO, {"gpus": gpus})
    assert [check.found for check in checks if check.name == "gpu"] == says


def test_a_gpu_that_may_be_any_of_several_is_told_with_what_helps() -> None:
    unknown = "which of unlike GPUs is used is not known: set CUDA_DEVICE_ORDER to PCI_BUS_ID"
    told = {"gpus": [H100, {"index": 1, "name": "NVIDIA T4"}], "probe_errors": {"used_gpu": unknown}}
    checks = _conditions(SshDevice(name="a", address="a"), HELLO, told)
    (warned,) = (check for check in checks if check.name == "gpu" and check.status == "warn")
    assert warned.found == unknown and "grade C" in warned.remedy


def grant(method: str, **changes: Any) -> dict[str, Any]:
    """Return a way of asking that is permitted and works, but for the changes."""
    found = {"granted": True, "waited_before": 0.5, "waited_after": 0.01, "verified": True, "reason": ""}
    return {"method": method, **found, **changes}


def refused(method: str, reason: str = "Operation not permitted") -> dict[str, Any]:
    """Return a way of asking that the system refuses."""
    return grant(method, granted=False, verified=False, waited_after=None, reason=reason)


USELESS = grant("nice", verified=False, waited_after=0.5, reason="granted, without effect")


def test_a_way_that_works_is_told_with_the_waiting_before_and_after_and_asks_for_nothing() -> None:
    checks = _grants([refused("realtime"), grant("autogroup"), USELESS], "ada", is_phone=False)
    assert [(check.status, check.remedy) for check in checks] == [("ok", "")] * 3
    assert checks[0].found == "refused: Operation not permitted"
    assert checks[1].found == "permitted and works: waits 1 % beside a busy program, 50 % unasked"
    assert "without effect" in checks[2].found
    assert all(len(check.found) <= 80 for check in checks)


def test_where_no_way_works_the_lines_that_permit_one_are_whole_and_name_the_account() -> None:
    checks = {
        check.name: check
        for check in _grants(
            [refused("realtime"), refused("autogroup"), refused("cgroup"), USELESS], "ada", False
        )
    }
    assert {check.status for check in checks.values()} == {"warn"}
    assert "'ada - rtprio 10' | sudo tee -a /etc/security/limits.conf" in checks["core: realtime"].remedy
    assert "LimitRTPRIO=10" in checks["core: realtime"].remedy
    assert "'ada - nice -20'" in checks["core: autogroup"].remedy
    assert "LimitNICE=-20" in checks["core: autogroup"].remedy
    assert checks["core: nice"].remedy == "", "it is granted and does not help"
    assert not any("setcap" in check.remedy for check in checks.values())


def test_a_phone_is_told_what_it_granted_and_a_container_what_starts_it() -> None:
    ways = [
        refused("realtime"),
        grant("nice", verified=False, reason="helps against programs of its group alone"),
    ]
    phone = _grants(ways, "u0_a123", is_phone=True)
    assert [check.remedy for check in phone] == ["", ""]
    assert "helps against programs of its group alone: waits 1 %" in phone[1].found
    assert "--cap-add SYS_NICE" in _grants(ways, "root", is_phone=False)[0].remedy


@pytest.mark.parametrize(
    ("waited", "status", "says"),
    [
        ({"0": 0.4, "1": 0.01}, "ok", "core 0 40 %, core 1 1 %"),
        ({"0": 0.4, "1": 0.3}, "warn", "core 0 40 %, core 1 30 %"),
        ({"0": 0.0, "1": 0.0}, "ok", "waits for core 0,1 0 %"),
        ({"0": None, "1": 0.0}, "ok", "core 0 an unknown time, core 1 0 %"),
        ({"0": None, "1": None}, "warn", "does not tell"),
    ],
)
def test_the_waiting_for_each_fast_core_is_told(waited: dict[str, Any], status: str, says: str) -> None:
    check = _busy_cores(waited | {"2": 1.0}, {"cores": [0, 1, 2], "clusters": [[0, 1], [2]]})
    assert check.status == status
    assert says in check.found
    assert "core 2" not in check.found
    assert bool(check.remedy) == ("%" in says and status == "warn")


def test_a_quota_withheld_cores_and_hardware_threads_are_told() -> None:
    nothing: dict[str, Any] = {"quota": None, "withheld": [], "siblings": {"0": [0], "1": [1]}}
    assert [(c.status, c.name, c.found) for c in _limits(nothing)] == [
        ("ok", "quota", "none"),
        ("ok", "hyperthreads", "none; each core is one"),
    ]
    quota = {"cores": 0.3, "group": "/sys/fs/cgroup/job"}
    siblings = {"0": [0, 4], "4": [0, 4], "1": [1, 5]}
    checks = {c.name: c for c in _limits({"quota": quota, "withheld": [5, 6], "siblings": siblings})}
    assert checks["quota"].status == "warn"
    assert "0.3 cores' time" in checks["quota"].found and "/sys/fs/cgroup/job" in checks["quota"].found
    assert "docker run --cpus" in checks["quota"].remedy
    assert "cores 5,6 may not be used" in checks["cpuset"].found
    assert "0+4, 1+5" in checks["hyperthreads"].found
    assert all(len(check.found) <= 80 for check in checks.values())


def test_a_lock_that_is_not_to_be_had_is_a_warning() -> None:
    assert _machine_lock("held").status == "ok"
    check = _machine_lock("not available: in a network namespace of its own")
    assert (check.status, check.found) == ("warn", "not available: in a network namespace of its own")
    assert check.remedy


def use(name: str, provider: str) -> RuntimeUse:
    return RuntimeUse(name=name, version="1", provider=provider, format="onnx")


def test_what_is_measured_in_another_form_is_told_with_what_to_do_without() -> None:
    tried = {SHARED_WORKER: "ended by SIGSEGV", "--memory": "", "--sustained": "0 of 2 blocks were measured"}
    works, shared, sustained = _forms(use("onnxruntime", "CUDAExecutionProvider"), tried)
    assert (works.status, works.found) == ("ok", "onnxruntime (CUDAExecutionProvider): --memory")
    assert (shared.status, sustained.status) == ("warn", "warn")
    assert "SIGSEGV" in shared.found and "--level final" in shared.remedy
    assert sustained.remedy == "measure there without --sustained"


def test_a_form_that_other_programs_held_up_is_not_said_not_to_work() -> None:
    (check,) = _forms(use("onnxruntime", "CPUExecutionProvider"), {SHARED_WORKER: NOT_KNOWN})
    assert check.status == "warn" and "not known: other programs took its core" in check.found
    assert check.remedy == "stop what else runs there, and ask again"


def test_a_sensor_of_energy_is_looked_for_once_for_all_that_the_processor_runs() -> None:
    class Client:
        asked: ClassVar[list[str]] = []

        def energy_sensor(self, provider: str) -> dict[str, Any]:
            self.asked.append(provider)
            if provider.startswith("CUDA"):
                return {"sensor": {"kind": "nvidia", "scope": "the board"}, "update_s": 0.1, "reasons": []}
            return {"reasons": ["RAPL: only root may read it"]}

    class Held:
        client = Client()

    uses = [
        use("onnxruntime", "CPUExecutionProvider"),
        use("tflite", "XNNPACK"),
        use("onnxruntime", "CUDAExecutionProvider"),
    ]
    processor, gpu = _sensors(LocalDevice(name="local"), Held(), uses)  # type: ignore[arg-type]
    assert len(Client.asked) == 2
    assert processor.status == "warn" and "RAPL: only root may read it" in processor.found
    assert (gpu.status, gpu.found) == (
        "ok",
        "CUDAExecutionProvider: nvidia (the board), measured every 0.1 s",
    )


@pytest.mark.parametrize(
    ("driver", "status", "words"),
    [
        (
            {"variables": {"LD_LIBRARY_PATH": "/vendor/lib64"}},
            "ok",
            "Mali, shown by /vendor/lib64/a.so; workers on the GPU alone have LD_LIBRARY_PATH=/vendor/lib64",
        ),
        (
            {"trouble": "environment names LD_LIBRARY_PATH"},
            "ok",
            "not led to it: environment names LD_LIBRARY_PATH",
        ),
        (
            {"trouble": "it has folders of 2 chips: a, b"},
            "warn",
            "not led to it: it has folders of 2 chips: a, b",
        ),
    ],
)
def test_a_phones_driver_is_told_with_what_showed_it_and_what_became_of_it(
    driver: dict[str, Any], status: str, words: str
) -> None:
    (check,) = _driver({"driver": {"vendor": "Mali", "shown_by": "/vendor/lib64/a.so", **driver}})
    assert (check.status, bool(check.remedy)) == (status, status == "warn") and words in check.found
    assert _driver({}) == _driver({"driver": {}}) == []


def test_a_sensor_that_cannot_be_asked_for_is_told_and_the_others_are_looked_for() -> None:
    class Client:
        def energy_sensor(self, provider: str) -> dict[str, Any]:
            raise AgentError("unreadable", "the sensor cannot be read", {})

    class Held:
        client = Client()

    uses = [use("onnxruntime", "CPUExecutionProvider"), use("onnxruntime", "CUDAExecutionProvider")]
    found = _sensors(LocalDevice(name="local"), Held(), uses)  # type: ignore[arg-type]
    assert [check.status for check in found] == ["warn", "warn"]
    assert all("no --energy: the sensor cannot be read" in check.found for check in found)


@pytest.mark.parametrize("lost_at", ["forms", "sensor"])
def test_a_device_lost_while_forms_are_tried_keeps_what_was_found_before(
    lost_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        def lock(self, owner: str, board: Any) -> dict[str, Any]:
            return {}

        def energy_sensor(self, provider: str) -> dict[str, Any]:
            raise LinkError("the agent ended")

    class Held:
        client, hello = Client(), HELLO

    def forms(*_: Any) -> dict[str, str]:
        if lost_at == "forms":
            raise LinkError("the agent ended")
        return {"--memory": ""}

    monkeypatch.setattr(doctor, "choose_runtimes", lambda *_: [use("onnxruntime", "CPUExecutionProvider")])
    monkeypatch.setattr(doctor, "try_runtime", lambda *_: "")
    monkeypatch.setattr(doctor, "try_forms", forms)
    found = _trials(LocalDevice(name="board"), Held(), lambda step: None)  # type: ignore[arg-type]
    between = [] if lost_at == "forms" else [("ok", "forms")]
    told = [(check.status, check.name) for check in found]
    assert told == [("ok", "trial"), *between, ("FAIL", "agent")]


@pytest.mark.long
@pytest.mark.slow
def test_the_doctor_tries_a_free_device_and_leaves_one_in_use_in_peace(tmp_path: Path) -> None:
    device = LocalDevice(name="local", root=str(tmp_path / "root"))
    found = diagnose(device)
    names = {check.name for check in found}
    assert {"core: realtime", "core: nice", "waiting", "quota", "hyperthreads", "machine lock"} <= names
    trials = [check for check in found if check.name == "trial"]
    assert [check.status for check in trials] == ["ok", "ok"]
    assert [check.found.split()[0] for check in trials] == ["onnxruntime", "tflite"]
    forms = [check.found for check in found if check.name == "forms"]
    assert sum("--memory, --sustained" in told for told in forms) == 2
    assert [check.found.split(":")[0] for check in found if check.name == "energy"] == ["processor"]
    holder = MachineLock()
    holder.take()
    try:
        checks = {check.name: check for check in diagnose(device)}
    finally:
        holder.release()
    assert not any(name.startswith("core: ") for name in checks)
    assert checks["core request"].status == "warn"
    assert f"process {os.getpid()}" in checks["core request"].found
    assert (checks["trial"].status, "in use" in checks["trial"].found) == ("warn", True)


def test_devices_are_checked_at_once_and_each_is_told_when_it_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others_are_told, at_once = threading.Event(), threading.Barrier(3, timeout=10)

    def diagnosed(device: Device, on_progress: Callable[[str], None]) -> list[Check]:
        on_progress("at it")
        at_once.wait()
        if device.name == "a":
            assert others_are_told.wait(10), "others wait for the first one"
        return [Check(status="FAIL" if device.name == "b" else "ok", name="reach", found=device.name)]

    monkeypatch.setattr(doctor, "diagnose", diagnosed)
    told, steps = [], list[tuple[str, str]]()
    devices = [SshDevice(name=name, address=name) for name in "abc"]
    for name, checks in diagnose_all(devices, lambda *step: steps.append(step)):
        told.append(name)
        if len(told) == 2:
            others_are_told.set()
        assert checks[0].found == name
        assert exit_status(checks) == (3 if name == "b" else 0)
    assert sorted(told[:2]) == ["b", "c"] and told[2:] == ["a"]
    assert sorted(steps) == sorted((name, step) for name in "abc" for step in ("at it", ""))


def test_devices_of_one_machine_are_checked_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work = threading.Lock()

    def diagnosed(device: Device, on_progress: Callable[[str], None]) -> list[Check]:
        assert at_work.acquire(blocking=False), "two at once"
        time.sleep(0.02)
        at_work.release()
        return []

    monkeypatch.setattr(doctor, "diagnose", diagnosed)
    local = [LocalDevice(name=name) for name in ("big", "little")]
    assert [name for name, _ in diagnose_all(local)] == ["big", "little"]
    boards = [SshDevice(name="x", address="me@Pi.lan"), SshDevice(name="y", address="pi.lan:22", user="you")]
    assert [name for name, _ in diagnose_all(boards)] == ["x", "y"]


def test_a_fault_of_harness_in_a_check_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "diagnose", lambda device, on_progress: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        list(diagnose_all([LocalDevice(name="local")]))


def test_two_names_of_one_machine_take_turns_though_nobody_knew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "POLL_S", 0.001)
    asked = dict[str, int]()

    def lie(answer: str, message: dict[str, Any]) -> dict[str, Any]:
        name = answer.removeprefix("answer ")
        asked[name] = asked.get(name, 0) + 1
        if name not in ("permissions", "lock") or asked[name] > 3:
            return message
        busy = {"type": "error", "id": message["id"], "kind": "busy", "message": "in use"}
        return busy | {"owner": doctor.OWNER}

    monkeypatch.setattr(doctor, "open_transport", lambda device: LyingDevice(lie))
    checks = diagnose(LocalDevice(name="b"))
    assert asked["permissions"] == asked["lock"] == 4
    assert not [check for check in checks if "in use" in check.found]
    monkeypatch.setattr(doctor, "TURNS_S", 0.0)  # who claims it for longer is believed no more
    asked.clear()
    assert [check for check in diagnose(LocalDevice(name="b")) if "in use" in check.found]


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        ({"board": {"power_mode": "MAXN", "before": "15W", "clocks": True}}, "ok", "set to power mode MAXN, its clocks held"),
        ({"type": "error", "kind": "board", "message": "nvpmodel needs root"}, "FAIL", "nvpmodel needs root"),
    ],
)  # fmt: skip
def test_a_board_that_is_to_be_set_is_set_by_the_doctor_too(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], status: str, says: str
) -> None:
    def lie(name: str, message: dict[str, Any]) -> dict[str, Any]:
        return {**message, **answer} if name == "answer lock" else message

    monkeypatch.setattr(doctor, "open_transport", lambda device: LyingDevice(lie))
    checks = diagnose(LocalDevice(name="nano", jetson_power_mode="MAXN", jetson_clocks=True))
    (found,) = [check for check in checks if check.name == "board"]
    assert (found.status, says in found.found) == (status, True)
