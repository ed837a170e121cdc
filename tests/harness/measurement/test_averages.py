"""A phone by adb alone: the real adb client, a scripted server, and a program in the place of benchmark_model on its phone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from factories.model_files import dense, save, save_tflite
from rigs.adb_server import SERIAL, AdbServer, Phone, need_adb

import harness
from device_agents.facts import parse_machine_id
from exporters.formats import Format
from harness.devices import phone_lock
from harness.devices.config import AdbDevice
from harness.errors import Cancelled, DeviceError
from harness.measurement import averages
from harness.measurement.plan import Options
from harness.models.exported import ExportedModels
from harness.records import SessionRecord
from harness.store import Store
from space.errors import ConfigError

pytestmark = pytest.mark.adb

# It takes what `times` says of a graph, by the beginning of its name, with a little of what the call's number says.
PROGRAM = """#!/bin/sh
for word in "$@"; do
    case "$word" in
        --graph=*) graph="${word#--graph=}";;
        --num_runs=*) runs="${word#--num_runs=}";;
    esac
done
echo "$*" >>"$PHONE/called"
us=1000
[ -e "$PHONE/times" ] && . "$PHONE/times"
[ -e "$PHONE/says" ] && { cat "$PHONE/says"; exit 1; }
us=$((us + $(wc -l <"$PHONE/called") % 3))
echo "count=20 first=2000 curr=$us min=900 max=2000 avg=1100 std=9"
echo "count=$runs first=$us curr=$us min=$us max=$us avg=$us std=0"
cat "$PHONE/whole" 2>/dev/null
echo "Inference timings in us: Init: 500, First inference: 2000, Warmup (avg): 1100, Inference (avg): $us"
"""


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    need_adb()
    found = Phone(tmp_path / "phone")
    online = found.folder / "sys/devices/system/cpu/online"
    online.parent.mkdir(parents=True, exist_ok=True)
    online.write_text("0-3\n")
    found.answer("ro.product.model", "Made Up Phone\n")
    return found


@pytest.fixture
def device(server: AdbServer, tmp_path: Path) -> AdbDevice:
    program = tmp_path / "benchmark_model"
    program.write_text(PROGRAM)
    return AdbDevice(name="pixel", adb=SERIAL, benchmark_model=str(program))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return save_tflite(tmp_path / "a.tflite"), save_tflite(tmp_path / "b.tflite", width=6)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(averages, "SLICES", 1)
    with Store(str(tmp_path / "store.sqlite")) as store:
        yield store


@pytest.fixture
def with_interval(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(averages, "SLICES", 6)  # one alone has grade D in any case


def measure(device: AdbDevice, files: tuple[Path, Path], store: Store, **options: Any) -> Any:
    asked: dict[str, Any] = {"level": "quick", "reference": files[1]} | options
    return harness.measure(device, files[0], store=store, **asked)


def sessions(store: Store) -> list[SessionRecord]:
    return [one for c in store.configurations() for one in store.sessions(c)]


def called(phone: Phone) -> list[str]:
    return [line.split()[0] for line in (phone.folder / "called").read_text().splitlines()]


@pytest.mark.parametrize(("serial", "machines"), [("R5CT10ABCDE", 1), ("unknown", 0), ("00000000", 0)])
def test_a_phone_is_told_from_others_by_a_digest_of_its_serial_number_where_it_has_one(
    serial: str,
    machines: int,
    device: AdbDevice,
    files: tuple[Path, Path],
    store: Store,
    phone: Phone,
    server: AdbServer,
) -> None:
    phone.answer("ro.serialno", serial + "\n")
    (row,) = measure(device, files, store)
    found = store.machines(row.configuration)
    assert len(found) == machines and found <= {parse_machine_id(serial)}


@pytest.mark.usefixtures("with_interval")
def test_network_and_reference_take_turns_call_by_call_and_the_numbers_say_that_they_are_averages(
    device: AdbDevice, files: tuple[Path, Path], store: Store, phone: Phone, server: AdbServer
) -> None:
    network = f"*{digest_of(files[0])[:12]}*"
    (phone.folder / "times").write_text(f'case "$graph" in {network}) us=3000;; esac\n')
    (row,) = measure(device, files, store)
    assert row.estimate.ratio == pytest.approx(3, rel=0.01)
    assert row.latency_ms == pytest.approx(3.0, rel=0.01)
    assert (row.grade, "averages" in {one.kind for one in row.findings}) == ("C", True)
    configuration = row.configuration
    assert configuration.runtime_version.startswith("benchmark_model ")
    assert (configuration.runtime, configuration.provider, configuration.cores) == (
        "tflite", "XNNPACK", (0, 1, 2, 3),
    )  # fmt: skip
    turns = called(phone)[2:]  # a trial of each before
    assert len(turns) == 18 and len(set(turns[0::3])) == len(set(turns[1::3])) == 1
    assert turns[0] == turns[2] != turns[1]
    (session,) = sessions(store)
    assert session.plan["averages_of"] == round(averages.CALL_NS / 3_001_000)
    assert not session.output and not session.expected
    again = measure(device, files, store)
    assert sum(one.startswith("sync") for one in server.asked) == 3, "program and models are there already"
    assert len(called(phone)) == 20 and [one.latency_ms for one in again] == [row.latency_ms]


def digest_of(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_the_program_says_else_is_a_failure_and_no_latency(
    device: AdbDevice, files: tuple[Path, Path], store: Store, phone: Phone
) -> None:
    (phone.folder / "says").write_text("ERROR: Failed to load the model\n")
    table = measure(device, files, store)
    assert len(table) == 0 and sessions(store) == []
    assert "Failed to load the model" in table.failures[0].message
    (phone.folder / "says").unlink()
    assert len(measure(device, files, store)) == 1


def test_a_gpu_that_does_not_say_that_it_runs_all_is_refused(
    device: AdbDevice, files: tuple[Path, Path], store: Store, phone: Phone, server: AdbServer
) -> None:
    table = measure(device, files, store, runtimes=["tflite:gpu"])
    assert len(table) == 0 and "GPU does not run the whole model" in table.failures[0].message
    (phone.folder / "whole").write_text(
        "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.\n"
    )
    (row,) = measure(device, files, store, runtimes=["tflite:gpu"], cores=[0])
    assert row.configuration.cores == (0,) and any("taskset 1 " in one for one in server.asked)
    assert (row.configuration.provider, sessions(store)[0].conditions_after["shares"]) == (
        "GPU",
        {"GPU": 1.0},
    )
    assert "--use_gpu=true" in (phone.folder / "called").read_text()


@pytest.mark.usefixtures("with_interval")
def test_a_hot_phone_is_told_and_a_cut_cable_ends_the_campaign(
    device: AdbDevice, files: tuple[Path, Path], store: Store, phone: Phone, server: AdbServer
) -> None:
    told = (phone.folder / "answers/thermalservice").read_text()
    phone.answer("thermalservice", told.replace("Thermal Status: 0", "Thermal Status: 3"))
    (row,) = measure(device, files, store)
    assert row.grade == "D" and "throttled" in {one.kind for one in row.findings}
    server.unplug()
    with pytest.raises(DeviceError, match="adb sees no device"):
        measure(device, files, store, fresh=True)


def test_a_file_that_does_not_arrive_whole_is_refused(
    device: AdbDevice, files: tuple[Path, Path], store: Store, server: AdbServer
) -> None:
    server.lost_bytes = 1
    with pytest.raises(DeviceError, match="not what was sent"):
        measure(device, files, store)


@pytest.mark.usefixtures("with_interval")
def test_battery_saver_is_told_and_holds_the_grade(
    device: AdbDevice, files: tuple[Path, Path], store: Store, phone: Phone
) -> None:
    for setting in ("low_power", "POWER_SAVE_MODE_OPEN"):
        phone.answer(setting, "1\n")
        (row,) = measure(device, files, store, fresh=True)
        phone.answer(setting, "null\n")
        last = max(sessions(store), key=lambda one: one.started_utc)
        assert last.conditions_after.get("battery_saver") is True, setting
        (found,) = [one for one in row.findings if one.kind == "throttled"]
        assert (row.grade, "battery saver" in found.message) == ("D", True)
        assert "switch battery saver off" in found.remedy
    for text in ("0\n", "null\n", "Exception: no such thing\n", ""):
        phone.answer("low_power", text)
        (row,) = measure(device, files, store, fresh=True)
        last = max(sessions(store), key=lambda one: one.started_utc)
        assert last.conditions_after.get("battery_saver") == (False if text == "0\n" else None)


def test_a_full_storage_loses_the_models_of_before_and_not_the_program(
    device: AdbDevice, files: tuple[Path, Path], store: Store, phone: Phone, server: AdbServer, tmp_path: Path
) -> None:
    measure(device, files, store)
    folder = phone.folder / "data/local/tmp/harness"
    assert len(list(folder.iterdir())) == 3
    server.most_files = 3
    other = save_tflite(tmp_path / "c.tflite", width=5)
    assert len(harness.measure(device, other, store=store, level="quick", reference=files[1])) == 1
    left = {path.name for path in folder.iterdir()}
    assert digest_of(files[0]) not in left
    assert {digest_of(other), digest_of(files[1]), digest_of(Path(device.benchmark_model))} == left


def test_cores_that_go_offline_end_a_session_without_a_latency(
    device: AdbDevice, files: tuple[Path, Path], store: Store, phone: Phone
) -> None:
    online = phone.folder / "sys/devices/system/cpu/online"
    (phone.folder / "times").write_text(f'echo 0-1 >"{online}"\n')
    table = measure(device, files, store)
    (failure,) = table.failures
    assert (len(table), failure.kind) == (0, "conditions-changed")
    assert "with cores 0,1 online, not 0,1,2,3 as when the campaign began" in failure.message


@pytest.mark.parametrize("returns", [True, False])
def test_a_phone_that_goes_in_a_run_is_waited_for_and_no_fault_of_the_network(
    device: AdbDevice,
    files: tuple[Path, Path],
    store: Store,
    phone: Phone,
    server: AdbServer,
    monkeypatch: pytest.MonkeyPatch,
    returns: bool,
) -> None:
    run, goes = phone.run, [True]

    def run_and_restart(line: str) -> tuple[int, bytes, bytes]:
        done = run(line)
        if "--graph=" in line and goes:
            goes.clear()
            server.phones, server.cuts = [], [100]
            if returns:
                threading.Timer(0.5, server.phones.append, (phone,)).start()
        return done

    monkeypatch.setattr(averages, "RECONNECT_WAITS_S", (0.01, 1.0))
    monkeypatch.setattr(phone, "run", run_and_restart)
    if returns:
        assert len(measure(device, files, store)) == 1
    else:
        with pytest.raises(DeviceError, match="adb sees no device"):
            measure(device, files, store)
    assert store.failures() == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"memory": True}, "leave out --memory"),
        ({"energy": True}, "leave out --energy"),
        ({"runtimes": ["tflite:edgetpu"]}, "by adb alone there is tflite:xnnpack"),
        ({"runtimes": ["onnxruntime"]}, "runtimes out|there is tflite"),
    ],
)
def test_what_averages_cannot_tell_is_refused(
    device: AdbDevice, files: tuple[Path, Path], store: Store, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        measure(device, files, store, **asked)


def test_other_formats_are_refused_before_the_phone_is_asked(
    device: AdbDevice, files: tuple[Path, Path], store: Store, server: AdbServer, tmp_path: Path
) -> None:
    onnx = save(dense(), tmp_path / "a.onnx")
    for models in (onnx, [onnx, files[0]], [onnx, "conv/conv"]):
        with pytest.raises(
            ConfigError, match="'pixel': by adb alone there are tflite models and no onnx ones"
        ):
            harness.measure(device, models, store=store, space="tiny")
    networks = ExportedModels([], on_progress=lambda *told: None)
    unused: Any = None
    asked: tuple[Format, ...]
    for asked in (("onnx",), ("tflite", "onnx")):
        with pytest.raises(ConfigError, match="no onnx ones; leave those out, or measure over SSH"):
            averages.run_averages(
                device, networks, Options(formats=asked), unused, unused, rng=unused, cancel=unused
            )
    assert server.asked == []


HOLDER = """
import sys, threading
from harness.devices.phone_lock import held_phone
with held_phone(sys.argv[1], "it", owner="the night run", wait_s=0, on_progress=print, cancel=threading.Event()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    """Hold the phone in another process, until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, SERIAL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_phone_in_use_is_refused_and_with_wait_measured_once_it_is_free(
    device: AdbDevice,
    files: tuple[Path, Path],
    store: Store,
    server: AdbServer,
    holder: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(phone_lock, "GRACE_S", 0.1)
    with pytest.raises(DeviceError, match="phone is in use by 'the night run'; --wait waits for it"):
        measure(device, files, store)
    with pytest.raises(DeviceError, match=r"in use by 'the night run'; waited 0:0\d for it"):
        measure(device, files, store, wait_s=0.2)
    assert server.asked == []
    told: list[str] = []

    def log(line: str) -> None:
        told.append(line)
        if "waiting" in line and holder.stdin is not None:
            holder.stdin.close()

    assert len(measure(device, files, store, wait_s=60.0, log=log)) == 1
    assert "pixel: waiting: in use by 'the night run'; 0:00 of 1:00" in told


def test_campaigns_of_one_process_take_turns_on_a_phone_and_a_stopped_one_waits_no_more() -> None:
    def hold(cancel: threading.Event) -> AbstractContextManager[None]:
        return phone_lock.held_phone(
            SERIAL, "it", owner="one", wait_s=0, on_progress=lambda event: said.set(), cancel=cancel
        )

    said, cancel, ended = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        with pytest.raises(Cancelled), hold(cancel):
            pass
        ended.set()

    with hold(threading.Event()):
        threading.Thread(target=wait, daemon=True).start()
        assert said.wait(10) and not ended.is_set()
        cancel.set()
        assert ended.wait(10)
    with hold(threading.Event()):
        pass


def test_a_process_of_this_number_on_another_machine_is_no_campaign_of_this_one(
    holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone_lock, "GRACE_S", 0.1)
    monkeypatch.setattr(os, "getpid", lambda: holder.pid)  # as in another container, or on another host
    stop = threading.Timer(5, (cancel := threading.Event()).set)
    stop.start()
    with (
        pytest.raises(DeviceError, match="in use by 'the night run'"),
        phone_lock.held_phone(
            SERIAL, "it", owner="mine", wait_s=0, on_progress=lambda event: None, cancel=cancel
        ),
    ):
        pass
    stop.cancel()


def test_what_fails_while_a_phone_is_waited_for_is_no_fault_of_the_lock(
    holder: subprocess.Popen[str],
) -> None:
    def tell(event: object) -> None:
        raise BrokenPipeError("the terminal is gone")

    with (
        pytest.raises(BrokenPipeError, match="terminal"),
        phone_lock.held_phone(SERIAL, "it", owner="m", wait_s=60, on_progress=tell, cancel=threading.Event()),
    ):
        pass


def test_several_images_a_run_are_refused_before_the_phone_is_asked(
    device: AdbDevice, server: AdbServer
) -> None:
    unused: Any = None
    with pytest.raises(ConfigError, match="leave out --batch"):
        averages.run_averages(
            device, unused, Options(batches=(1, 8)), unused, unused, rng=unused, cancel=unused
        )
    assert server.asked == []


def test_a_phone_whose_first_answers_break_off_is_asked_again(
    device: AdbDevice,
    files: tuple[Path, Path],
    store: Store,
    server: AdbServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(averages, "RECONNECT_WAITS_S", (0.01,))
    server.cuts = [1000, 0]  # of sha256sum
    (row,) = measure(device, files, store)
    assert "Made Up Phone" in row.configuration.hardware
    server.cuts = [0, 0]
    with pytest.raises(DeviceError, match="the answer to 'mkdir' broke off"):
        measure(device, files, store)
