"""The real adb client against a scripted server: arguments arrive as they are, states are told with remedies, ports end."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.adb_server import SERIAL, AdbServer, Phone

from harness.devices.adb.client import Adb, check_listing, shell_line
from harness.devices.destination import check_serial
from harness.errors import DeviceError, LinkError

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
HEADER = "List of devices attached\n"
FOUND_ANEW = "adb-1A2B-xyz (2)._adb-tls-connect._tcp"  # as adb names a phone that mDNS finds a second time


@pytest.fixture
def adb(server: AdbServer) -> Adb:
    return Adb(SERIAL, "device 'pixel'")


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXTS, max_size=4))
def test_any_arguments_are_one_line_that_a_shell_reads_as_them(arguments: list[str]) -> None:
    phone_free = Phone.run_anywhere(shell_line(["printf", "%s\\0", "", *arguments]))
    assert phone_free == b"\0".join(text.encode() for text in ("", *arguments, ""))


def test_nul_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="NUL"):
        shell_line(["echo", "a\0b"])


@pytest.mark.adb
@pytest.mark.parametrize(
    "argument", ["", "a b", "$HOME `id` $(id)", "'\"\\", "-n", "one\ntwo", "; rm -rf x", "ä€", "*"]
)
def test_an_argument_arrives_at_the_phone_as_it_is(adb: Adb, argument: str) -> None:
    assert adb.shell(["printf", "%s", argument]).stdout.decode() == argument


@pytest.mark.adb
def test_a_commands_status_and_errors_come_back_and_are_not_adbs_own(adb: Adb) -> None:
    done = adb.shell(["sh", "-c", "echo out; echo error: own >&2; exit 7"])
    assert (done.status, done.stdout, done.stderr) == (7, b"out\n", "error: own")


@pytest.mark.parametrize(
    "serial",
    ["", "-s", "a b", "a (2) (3)", "a (b)", "a  (2)", "a;b", "$(id)", "a\n", "ä", "'", "x" * 300, "--help"],
)
def test_a_serial_number_that_adb_could_take_for_something_else_is_refused(serial: str) -> None:
    with pytest.raises(ValueError, match="adb devices"):
        check_serial(serial)


@pytest.mark.parametrize(
    "serial",
    [
        "R5CT10ABCDE",
        "emulator-5554",
        "192.168.1.23:5555",
        "[fe80::1%eth0]:5555"[1:],
        "adb-1A2B-xyz._adb-tls-connect._tcp",
        FOUND_ANEW,
    ],
)
def test_serial_numbers_as_adb_lists_them_are_taken(serial: str) -> None:
    check_serial(serial)


@pytest.mark.parametrize(
    ("listing", "kind", "says"),
    [
        ("", LinkError, "sees none; switch on USB debugging"),
        ("OTHER\tdevice\n", LinkError, "it sees OTHER"),
        ("R5CT10ABCDF\tdevice\n", LinkError, "did you mean 'R5CT10ABCDF'"),
        (f"{SERIAL}\toffline\n", LinkError, "adb reconnect offline"),
        (f"{SERIAL}\tauthorizing\n", LinkError, "wait a moment"),
        (f"{SERIAL}\tunauthorized\n", DeviceError, "Allow USB debugging"),
        (f"{SERIAL}\tno permissions (user in plugdev group; are your udev rules wrong?); see [http]\n", DeviceError, "udev"),
        (f"{SERIAL}\trecovery\n", DeviceError, "start Android"),
        (f"{SERIAL}\tdevice\n{SERIAL}\tdevice\n", DeviceError, "2 devices of serial number"),
        (f"{SERIAL}\tdreaming\n", DeviceError, "no state that harness knows"),
    ],
)  # fmt: skip
def test_each_state_of_a_phone_has_its_remedy(listing: str, kind: type[DeviceError], says: str) -> None:
    with pytest.raises(kind, match="device 'pixel'") as caught:
        check_listing(SERIAL, f"{HEADER}{listing}\n", "device 'pixel'")
    assert says in str(caught.value)
    assert type(caught.value) is kind, "only what may come back by itself is waited for"


def test_a_listing_that_is_none_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no list of devices"):
        check_listing(SERIAL, "hello\n", "device 'pixel'")


@pytest.mark.adb
@pytest.mark.parametrize(
    ("state", "says"),
    [("unauthorized", "Allow USB"), ("offline", "reconnect"), ("sideload", "start Android")],
)
def test_the_real_client_lists_states_as_they_are_read(adb: Adb, phone: Phone, state: str, says: str) -> None:
    adb.check()
    phone.state = state
    with pytest.raises(DeviceError, match=says):
        adb.check()
    with pytest.raises(LinkError, match=state):
        adb.shell(["true"])


@pytest.mark.adb
def test_two_phones_of_one_serial_number_are_told(adb: Adb, server: AdbServer, tmp_path: Path) -> None:
    server.phones.append(Phone(tmp_path / "other"))
    with pytest.raises(DeviceError, match="2 devices"):
        adb.check()


@pytest.mark.adb
def test_a_phone_that_adb_found_anew_is_reached_by_the_name_with_a_number(
    server: AdbServer, tmp_path: Path
) -> None:
    server.phones.append(Phone(tmp_path / "anew", serial=FOUND_ANEW))
    anew = Adb(FOUND_ANEW, "device 'pixel'")
    anew.check()
    assert anew.shell(["getprop", "ro.serialno"]).stdout == b"R5CT10ABCDE\n"
    anew.end_forward(anew.forward(8022))


@pytest.mark.adb
def test_a_pulled_cable_is_a_broken_link(adb: Adb, server: AdbServer) -> None:
    server.unplug()
    with pytest.raises(LinkError, match="not found"):
        adb.shell(["true"])


def test_a_server_of_another_version_hides_no_broken_link(
    adb: Adb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "adb"
    said = "adb server version (39) doesn't match this client (41); killing...\\n* daemon started successfully\\n"
    program.write_text(f"#!/bin/sh\nprintf \"{said}error: device '{SERIAL}' not found\\n\" >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for ask in (adb.check, lambda: adb.shell(["true"])):
        with pytest.raises(LinkError, match=f"adb: device '{SERIAL}' not found"):
            ask()


def test_an_absent_client_is_told_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="apt install adb"):
        Adb(SERIAL, "device 'pixel'").version()


def test_ctrl_c_does_not_reach_adb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "adb"
    program.write_text(
        '#!/bin/sh\nread stat </proc/$$/stat\nset -- $stat\necho "Version $5"\n'
    )  # its process group
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert Adb(SERIAL, "device 'pixel'").version() != str(os.getpgrp())


@pytest.mark.adb
def test_a_forwarding_leads_to_the_phones_port_and_ends(adb: Adb, phone: Phone, server: AdbServer) -> None:
    def greet(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.sendall(b"SSH-2.0")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        phone.ports[8022] = listener.getsockname()[1]
        threading.Thread(target=greet, args=(listener,), daemon=True).start()
        port = adb.forward(8022)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            assert connection.recv(7) == b"SSH-2.0"
    adb.end_forward(port)
    assert server.forwards == {}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.adb
def test_the_version_is_the_programs_own(adb: Adb) -> None:
    assert adb.version()[0].isdigit()
    assert shutil.which("adb")


def test_a_phone_that_never_stops_writing_is_given_up_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "adb"
    program.write_text("#!/bin/sh\nexec yes\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(
        DeviceError, match="device 'pixel': the phone's shell wrote more than 1048576 bytes"
    ) as caught:
        Adb(SERIAL, "device 'pixel'").shell(["logcat"], timeout_s=20)
    assert type(caught.value) is DeviceError


@pytest.mark.adb
def test_an_answer_that_is_cut_anywhere_is_none(adb: Adb, server: AdbServer) -> None:
    """adb itself takes it for the whole one, and its status for 0."""
    whole = adb.shell(["sh", "-c", "printf 0-7; printf no >&2; exit 3"])
    assert (whole.status, whole.stdout, whole.stderr) == (3, b"0-7", "no")
    for size in range(len("0-7\n== status 3\n") + 5):
        server.cuts = [size]
        with pytest.raises(LinkError, match="device 'pixel': adb: the answer to 'sh' broke off"):
            adb.shell(["sh", "-c", "printf 0-7; printf no >&2; exit 3"])
    assert not server.cuts
