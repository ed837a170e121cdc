"""SSH through a phone's cable: a real adb client and a real sshd, keys known by name, and whole campaigns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories.model_files import dense, save
from rigs.adb_server import SERIAL, AdbServer, Phone, need_adb
from rigs.android_answers import POWER_HELP, thermal
from rigs.short_campaigns import any_core
from rigs.sshd import Sshd, greet, refusal, start_sshd

import harness
from harness.devices import doctor
from harness.devices.config import AdbDevice, SshDevice
from harness.devices.doctor import Check, diagnose
from harness.devices.transports.ssh import SshTransport
from harness.errors import LinkError
from harness.store import Store

pytestmark = [pytest.mark.ssh, pytest.mark.adb]
PORT = 8022


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    need_adb()
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def phone(sshd: Sshd, tmp_path: Path) -> Phone:
    phone = Phone(tmp_path / "phone")
    phone.ports[PORT] = sshd.port
    return phone


def pixel(sshd: Sshd, **changes: Any) -> SshDevice:
    """Return the phone as devices.toml would have it: no address, no port."""
    return sshd.device("pixel", **{"adb": SERIAL, "address": None, "port": None} | changes)


def test_ssh_goes_through_the_cable_and_its_port_ends_with_the_connection(
    sshd: Sshd, server: AdbServer
) -> None:
    transport = SshTransport(pixel(sshd))
    assert transport.run(["echo", "hello"]).stdout == b"hello\n"
    assert len(server.forwards) == 1
    assert f"forward:tcp:0;tcp:{PORT}" in "".join(server.asked)
    transport.close()
    assert server.forwards == {}


def test_the_host_key_is_known_by_the_phones_name_whatever_the_port(
    sshd: Sshd, server: AdbServer, tmp_path: Path
) -> None:
    known, key = tmp_path / "known_hosts", next(iter(sshd.host_keys.values()))
    by_name = {"host_key": None, "known_hosts": str(known)}
    known.write_text("")
    assert "unknown host key" in refusal(pixel(sshd, **by_name))
    known.write_text(f"pixel {key}\n")
    assert [greet(pixel(sshd, **by_name)) for _ in range(2)] == ["hello\n"] * 2
    known.write_text(f"other {key}\n")
    assert "unknown host key" in refusal(pixel(sshd, **by_name))
    assert greet(pixel(sshd, **by_name, address="other")) == "hello\n"


def test_another_sshd_behind_the_cable_is_refused(
    sshd: Sshd, phone: Phone, server: AdbServer, tmp_path: Path
) -> None:
    with start_sshd(tmp_path / "other") as other:
        phone.ports[PORT] = other.port
        assert "CHANGED" in refusal(pixel(sshd))
    assert server.forwards == {}, "a refused login leaves no port open"


def test_a_phone_without_sshd_is_told_to_start_it(sshd: Sshd, phone: Phone, server: AdbServer) -> None:
    phone.ports.clear()
    with pytest.raises(LinkError, match="Termux: run 'sshd'"):
        greet(pixel(sshd))


def test_a_pulled_cable_breaks_the_link_and_a_plugged_one_is_used_again(
    sshd: Sshd, phone: Phone, server: AdbServer
) -> None:
    transport = SshTransport(pixel(sshd))
    transport.connect()
    server.unplug()
    with pytest.raises(LinkError):
        transport.run(["echo", "hello"])
    transport.close()
    with pytest.raises(LinkError, match="sees none"):
        transport.connect()
    server.phones.append(phone)
    assert transport.run(["echo", "hello"]).stdout == b"hello\n"
    transport.close()


@pytest.mark.device
@pytest.mark.parametrize("fixed", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_campaign_holds_what_adb_tells_and_leaves_the_phone_as_it_was(
    sshd: Sshd, phone: Phone, server: AdbServer, tmp_path: Path, fixed: bool
) -> None:
    model, small = (save(dense(width=width), tmp_path / f"{width}.onnx") for width in (400, 8))
    device = pixel(sshd, fixed_performance=fixed, root=str(tmp_path / "root"))
    store = Store(str(tmp_path / "store.sqlite"))
    with any_core():
        (row,) = harness.measure(device, model, store=store, reference=small, level="quick", sessions=1)
    (found,) = [one for one in store.configurations() if one.device == "pixel"]
    assert row.latency_ms > 0
    assert found.clock_tier == ("F" if fixed else "C")
    sessions = store.sessions(found)
    assert sessions
    for session in sessions:
        assert session.conditions_before["adb"]["battery"]["status"] == "Charging"
        assert session.conditions_after["adb"]["screen"] == "on"
        assert session.conditions_before.get("fixed_performance") is (True if fixed else None)
        times = [sample["at_ns"] for sample in session.samples]
        assert times == sorted(times)
        of_adb = [sample for sample in session.samples if sample.get("source") == "adb"]
        assert of_adb or "samples" in session.conditions_after["adb"]["absent"], (
            "a short session may have none"
        )
        assert all(sample.get("fixed_performance") is (True if fixed else None) for sample in of_adb)
    store.close()
    assert phone.mode == ("false" if fixed else "")
    assert phone.guards() == []
    assert server.forwards == {}


def found(checks: list[Check], name: str) -> list[tuple[str, str]]:
    return [(check.status, check.found) for check in checks if check.name == name]


@pytest.mark.device
def test_the_doctor_tells_of_the_cable_the_phone_and_the_mode(
    sshd: Sshd, phone: Phone, server: AdbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for of_any_device in ("_permissions", "_trials"):
        monkeypatch.setattr(doctor, of_any_device, lambda *_: [])
    phone.answer("thermalservice", thermal(2))
    phone.answer("deviceidle", "who knows\n")
    checks = diagnose(pixel(sshd, root=str(tmp_path / "root")))
    ((status, text),) = found(checks, "adb")
    assert (status, text.endswith(f"reaches {SERIAL}")) == ("ok", True)
    assert found(checks, "phone")[0] == (
        "ok",
        "Android 16, screen ?, battery 85 % (Charging, powered by usb)",
    )
    assert found(checks, "thermal") == [("warn", "Android's thermal status 2 (moderate)")]
    ((status, text),) = found(checks, "fixed performance")
    assert "not asked for" in text
    assert found(checks, "host key")[0][0] == "ok"
    assert server.forwards == {}
    assert phone.mode == "", "a doctor changes nothing"


def test_the_doctor_ends_at_an_old_android_that_is_asked_for_the_mode(
    sshd: Sshd, phone: Phone, server: AdbServer
) -> None:
    phone.answer("power-help", POWER_HELP)
    checks = diagnose(pixel(sshd, fixed_performance=True))
    assert (checks[-1].status, checks[-1].remedy) == ("FAIL", "leave fixed_performance out")


@pytest.mark.parametrize(
    ("state", "says"), [("unauthorized", "Allow USB debugging"), ("offline", "plug it in again")]
)
def test_the_doctor_ends_at_a_cable_that_does_not_work_and_says_what_to_do(
    sshd: Sshd, phone: Phone, server: AdbServer, state: str, says: str
) -> None:
    phone.state = state
    (check,) = diagnose(pixel(sshd))
    assert (check.status, check.name) == ("FAIL", "adb")
    assert says in check.found


def test_the_doctor_tells_of_a_mode_that_a_killed_run_left_on(
    sshd: Sshd, phone: Phone, server: AdbServer
) -> None:
    from harness.devices.adb.client import Adb
    from harness.devices.adb.guard import FixedPerformance

    FixedPerformance(Adb(SERIAL, "x")).start()
    phone.end_processes()
    phone.ports.clear()
    checks = diagnose(pixel(sshd))
    ((status, text), _) = found(checks, "fixed performance")
    assert status == "warn"
    assert "still on" in text


def test_the_doctor_asks_adb_alone_where_no_agent_runs_and_goes_on_to_other_devices(
    phone: Phone, server: AdbServer, tmp_path: Path
) -> None:
    program = tmp_path / "benchmark_model"
    alone = AdbDevice(name="alone", adb=SERIAL, benchmark_model=str(program))
    closed = SshDevice(name="closed", address="127.0.0.1", port=1)
    checks = dict(doctor.diagnose_all([alone, closed]))
    assert [one.name for one in checks["closed"] if one.status == "FAIL"] == ["reach"]
    assert [one.status for one in checks["alone"] if one.name == "adb"] == ["ok"]
    assert (checks["alone"][-1].name, checks["alone"][-1].status) == ("program", "FAIL")
    assert f"benchmark_model = {str(program)!r}: no such file" in checks["alone"][-1].found
    program.touch()
    assert [one for one in diagnose(alone) if one.status == "FAIL"] == []
