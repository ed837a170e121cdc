"""Sensors of energy on made-up trees of /sys: which one is read, what it reads, how often it measures, and why others are not."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest

from device_agents import energy, gauges
from device_agents.energy import Meter, find_meter
from device_agents.facts import Absent
from device_agents.gauges import find_update_s
from device_agents.nvidia import open_gpu


def write(root: Path, files: dict[str, object]) -> Path:
    """Write files below a folder, each with its text; return the folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def zone(name: str, title: str, uj: int, range_uj: int = 1 << 38) -> dict[str, object]:
    folder = f"sys/class/powercap/{name}/"
    return {folder + "name": title, folder + "energy_uj": uj, folder + "max_energy_range_uj": range_uj}


def monitor(number: int, rails: dict[int, tuple[str, int, int]], name: str = "ina3221") -> dict[str, object]:
    folder = f"sys/class/hwmon/hwmon{number}/"
    files: dict[str, object] = {folder + "name": name}
    for channel, (label, mv, ma) in rails.items():
        files |= {f"{folder}in{channel}_label": label, f"{folder}in{channel}_input": mv}
        files |= {f"{folder}curr{channel}_input": ma}
    return files


def gauge(name: str = "battery", **values: object) -> dict[str, object]:
    told: dict[str, object] = {"type": "Battery", "status": "Discharging"}
    told |= {"current_now": -800_000, "voltage_now": 3_900_000}
    return {
        f"sys/class/power_supply/{name}/{key}": value
        for key, value in (told | values).items()
        if value is not None
    }


def no_gpu() -> dict[str, object]:
    raise Absent("NVML: no library")


def found(root: Path, provider: str = "CPUExecutionProvider") -> Meter:
    meter, reasons = find_meter(root, provider, no_gpu)
    assert meter is not None, reasons
    return meter


def why(root: Path, provider: str = "CPUExecutionProvider") -> str:
    meter, reasons = find_meter(root, provider, no_gpu)
    assert meter is None
    return "; ".join(reasons)


def test_a_processors_packages_and_memory_are_counted_and_no_part_of_them_twice(tmp_path: Path) -> None:
    tree = zone("intel-rapl:0", "package-0", 500) | zone("intel-rapl:0:0", "core", 300)
    tree |= zone("intel-rapl:0:1", "dram", 20) | zone("intel-rapl:1", "package-1", 700, 65_532_610_987)
    tree |= zone("intel-rapl:1:0", "dram", 30) | zone("intel-rapl:2", "psys", 9000)
    tree |= zone("intel-rapl-mmio:0", "package-0", 501)
    meter = found(write(tmp_path, tree))
    assert meter.describe() == {
        "kind": "rapl",
        "scope": "processor packages and their memory, of the whole machine",
        "counters": {
            "dram": 1 << 38,
            "dram (intel-rapl:1:0)": 1 << 38,
            "package-0": 1 << 38,
            "package-1": 65_532_610_987,
        },
        "powers": [],
    }
    reading = meter.read()
    assert reading is not None and sum(reading["uj"].values()) == 500 + 20 + 700 + 30 and reading["uw"] == {}


def test_counters_that_only_root_may_read_are_told_with_the_remedy(tmp_path: Path, monkeypatch) -> None:
    root = write(tmp_path, zone("intel-rapl:0", "package-0", 500))
    plain = energy.read_text

    def guarded(path: Path) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(energy, "read_text", guarded)
    said = why(root)
    assert "only root may read" in said and "chmod a+r" in said and "energy_uj" in said


def test_a_jetsons_whole_rail_is_read_alone_and_without_one_all_rails(tmp_path: Path) -> None:
    tree = monitor(0, {1: ("VDD_IN", 5000, 2000), 2: ("VDD_CPU_GPU_CV", 5000, 900)}) | monitor(
        1, {}, "tmp102"
    )
    reading = found(write(tmp_path / "nano", tree)).read()
    assert reading is not None and reading["uw"] == {"VDD_IN": 10_000_000}
    tree = monitor(1, {1: ("VDD_GPU_SOC", 19000, 400), 2: ("VDD_CPU_CV", 19000, 100), 3: ("NC", 1, 1)})
    tree |= monitor(2, {1: ("VIN_SYS_5V0", 5000, 1000), 2: ("OFF", 9, 9)})
    tree["sys/class/hwmon/hwmon2/in2_enable"] = 0
    agx = found(write(tmp_path / "agx", tree))
    reading = agx.read()
    assert reading is not None
    assert reading["uw"] == {"VDD_GPU_SOC": 7_600_000, "VDD_CPU_CV": 1_900_000, "VIN_SYS_5V0": 5_000_000}
    assert "VDD_CPU_CV, VDD_GPU_SOC, VIN_SYS_5V0" in agx.scope


def test_of_a_thor_the_rail_that_its_carrier_board_takes_is_read_alone(tmp_path: Path) -> None:
    tree = monitor(
        1, {1: ("VDD_GPU", 800, 9000), 2: ("VDD_CPU_SOC_MSS", 800, 6000), 3: ("VIN_SYS_5V0", 5000, 1300)}
    )
    folder = "sys/class/hwmon/hwmon4/"
    tree |= {folder + "name": "ina238", folder + "label": "VIN", folder + "power1_input": 27_500_000}
    thor = found(write(tmp_path, tree))
    reading = thor.read()
    assert reading is not None and reading["uw"] == {"VIN": 27_500_000}
    assert (thor.kind, thor.scope) == ("ina238", "rails VIN of the board")
    write(tmp_path, {folder + "label": "another"})
    assert found(tmp_path).kind == "ina3221", "of what another watches nothing is known"


def test_of_an_agx_orins_rails_the_one_within_another_is_not_added(tmp_path: Path) -> None:
    """NVIDIA's guide: "VDDQ_VDD2_1V8AO power is also included in VIN_SYS_5V0 power"."""
    tree = monitor(
        3, {1: ("VDD_GPU_SOC", 843, 6170), 2: ("VDD_CPU_CV", 780, 3437), 3: ("VIN_SYS_5V0", 4968, 953)}
    )
    tree |= monitor(4, {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 4968, 219), 3: ("NC", 0, 0)})
    reading = found(write(tmp_path, tree)).read()
    assert reading is not None and sum(reading["uw"].values()) == 843 * 6170 + 780 * 3437 + 4968 * 953


@pytest.mark.parametrize(
    ("values", "microwatts"),
    [
        ({}, 3_120_000),  # most drivers: a current that leaves is negative
        ({"current_now": 800_000}, 3_120_000),  # ACPI's, some phones': it is positive
        ({"power_now": 10_000_000}, 3_120_000),  # a phone's: what its charger could give
        ({"current_now": None, "power_now": 5_500_000}, 5_500_000),  # laptops
    ],
)
def test_a_battery_tells_what_leaves_it_whatever_the_sign(tmp_path: Path, values, microwatts: int) -> None:
    reading = found(write(tmp_path, gauge(**values))).read()
    assert reading is not None and reading["uw"] == {"battery": microwatts}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"status": "Charging"}, "not discharging (Charging)"),
        ({"status": "Full"}, "not discharging (Full)"),
        ({"scope": "Device"}, "battery: none"),
        ({"type": "Mains"}, "battery: none"),
        ({"current_now": -812}, "no plausible number of uA"),
        ({"current_now": 0}, "no plausible number of uA"),
        ({"voltage_now": 3_900}, "no plausible number of uV"),
        ({"current_now": "much"}, "invalid literal"),
    ],
)
def test_a_battery_that_tells_nothing_of_the_device_is_not_read(tmp_path: Path, values, words: str) -> None:
    assert words in why(write(tmp_path, gauge(**values)))


def test_of_several_batteries_none_is_taken_for_all_that_a_device_takes(tmp_path: Path) -> None:
    assert "several (BAT0, BAT1)" in why(write(tmp_path / "laptop", gauge("BAT0") | gauge("BAT1")))
    mouse = gauge("hidpp_battery_0", scope="Device", current_now=None)
    reading = found(write(tmp_path / "mouse", gauge("BAT0") | mouse)).read()
    assert reading is not None and list(reading["uw"]) == ["BAT0"]
    reading = found(write(tmp_path / "phone", gauge("bms", current_now=-1_600_000) | gauge())).read()
    assert reading is not None and reading["uw"] == {"battery": 3_120_000}


def test_a_battery_that_is_plugged_in_meanwhile_falls_silent(tmp_path: Path) -> None:
    meter = found(write(tmp_path, gauge()))
    assert meter.read() is not None
    write(tmp_path, gauge(status="Charging", current_now=1_500_000))
    assert meter.read() is None


def test_a_gpu_is_never_charged_to_the_processors_counter(tmp_path: Path) -> None:
    root = write(tmp_path, zone("intel-rapl:0", "package-0", 500))
    assert why(root, "CUDAExecutionProvider").startswith("NVML: no library")
    meter, _ = find_meter(root, "CUDAExecutionProvider", lambda: {"energy_mj": lambda: 7})
    assert meter is not None
    reading = meter.read()
    assert reading is not None and reading["uj"] == {"GPU": 7000} and meter.kind == "nvml"


@pytest.mark.parametrize("provider", ["GPU", "NPU", "GPU-fp32+CPU", "QNNExecutionProvider"])
def test_an_accelerator_is_charged_to_what_holds_the_whole_device_alone(
    tmp_path: Path, provider: str
) -> None:
    root = write(tmp_path, zone("intel-rapl:0", "package-0", 500))
    assert f"need not hold what {provider} computes on" in why(root, provider)
    assert found(write(root, gauge()), provider).kind == "battery"


@pytest.mark.alone  # what else runs takes energy, too
def test_this_processors_own_counters_tell_more_joules_under_load_than_at_rest() -> None:
    meter, reasons = find_meter(Path("/"), "CPUExecutionProvider", no_gpu)
    if meter is None or meter.kind != "rapl":
        pytest.skip(f"this machine tells no energy of its processor: {'; '.join(reasons)}")
    update_s = find_update_s(meter.latest)
    assert update_s is not None and update_s < 1

    def watts(work: Callable[[float], None]) -> float:
        before = meter.read()
        work(2.0)
        after = meter.read()
        assert before is not None and after is not None
        ranges = meter.describe()["counters"]
        uj = sum((after["uj"][name] - before["uj"][name]) % ranges[name] for name in ranges)
        return 1e3 * uj / (after["at_ns"] - before["at_ns"])

    rest_w, load_w = watts(time.sleep), watts(spin)
    assert 0.1 < rest_w < load_w < 2000


def spin(seconds: float) -> None:
    """Compute for some time."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        sum(range(1000))


def test_a_system_without_any_sensor_says_of_each_why(tmp_path: Path) -> None:
    said = why(tmp_path)
    assert [name for name in ("RAPL", "INA3221", "battery") if name not in said] == []


class Clock:
    """A clock that moves with each look, and a counter that follows it in steps."""

    def __init__(self, root: Path, update_s: float, look_s: float = 0.004) -> None:
        self.now_s, self._update_s, self._look_s = 0.0, update_s, look_s
        self._path = root / "sys/class/powercap/intel-rapl:0/energy_uj"

    def __call__(self) -> float:
        self.now_s += self._look_s
        self._path.write_text(str(int(self.now_s / self._update_s) * 1000 + 1))
        return self.now_s


@pytest.mark.parametrize("update_s", [0.1, 1.0, 8.0])
def test_how_often_a_sensor_measures_is_found(tmp_path: Path, monkeypatch, update_s: float) -> None:
    monkeypatch.setattr(gauges, "POLL_S", 0.0)
    meter = found(write(tmp_path, zone("intel-rapl:0", "package-0", 1)))
    assert find_update_s(meter.latest, Clock(tmp_path, update_s, update_s / 25)) == pytest.approx(
        update_s, rel=0.1
    )


def test_a_batterys_gauge_is_as_fast_as_its_current_not_as_its_voltage(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gauges, "POLL_S", 0.0)
    meter = found(write(tmp_path, gauge()))
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 0.25
        moving = {"current_now": -800_000 - int(now_s / 8), "voltage_now": 3_900_000 + int(now_s * 1000)}
        write(tmp_path, gauge(**moving))
        return now_s

    assert find_update_s(meter.latest, clock) == pytest.approx(8.0, rel=0.05)


def test_a_sensor_that_never_changes_is_not_called_fast(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gauges, "POLL_S", 0.0)
    meter = found(write(tmp_path, zone("intel-rapl:0", "package-0", 1)))
    clock = Clock(tmp_path, 1e9, look_s=0.1)
    assert find_update_s(meter.latest, clock) is None and clock.now_s < 70


def test_readings_come_when_they_are_due(tmp_path: Path) -> None:
    meter = found(write(tmp_path, zone("intel-rapl:0", "package-0", 5)))
    assert meter.step(1e9) is None, "nobody opened it"
    meter.open(10.0, 0.5)
    reading = meter.step(10.0)
    assert reading is not None and reading["event"] == "energy" and reading["at_ns"] > 0
    assert (meter.step(10.4), meter.due_s) == (None, 10.5)
    assert meter.step(10.6) is not None


NVML = """
static int calls;
int nvmlInit_v2(void) { return INIT; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &calls; return index; }
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj)
{ *mj = 123456789012ULL + 1000 * (*(int *)device)++; return ENERGY; }
int nvmlDeviceGetPowerUsage(void *device, unsigned *mw) { *mw = 71500; return POWER; }
"""


@pytest.mark.skipif(which("cc") is None, reason="a library is compiled: apt install gcc")
@pytest.mark.parametrize(
    ("statuses", "expected"),
    [((0, 0, 0), "energy_mj"), ((0, 3, 0), "power_mw"), ((0, 3, 3), "neither"), ((9, 0, 0), "status 9")],
)
def test_nvidias_library_is_asked_as_its_header_says(tmp_path: Path, statuses, expected: str) -> None:
    (tmp_path / "nvml.c").write_text(NVML)
    flags = [f"-D{name}={status}" for name, status in zip(("INIT", "ENERGY", "POWER"), statuses, strict=True)]
    subprocess.run(
        ["cc", "-shared", "-fPIC", *flags, "-o", tmp_path / "nvml.so", tmp_path / "nvml.c"], check=True
    )
    if expected not in ("energy_mj", "power_mw"):
        with pytest.raises(Absent, match=expected):
            open_gpu(0, str(tmp_path / "nvml.so"))
        return
    ((name, read),) = open_gpu(0, str(tmp_path / "nvml.so")).items()
    assert name == expected
    if name == "power_mw":
        assert read() == 71500
    else:
        first = read()
        assert first > 1 << 32 and read() == first + 1000


def test_a_system_without_nvidias_library_says_so() -> None:
    with pytest.raises(Absent, match="NVML"):
        open_gpu(0, "libno-such-library.so.1")
