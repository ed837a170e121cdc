"""Libraries from a folder of this machine to the device, which finds its runtime in them."""

from __future__ import annotations

import shutil
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.devices.config import LocalDevice
from harness.devices.connection import Connection, carried_libraries, new_owner
from harness.devices.transports import open_transport
from space.errors import ConfigError


def package_folder() -> Path:
    found = find_spec("ai_edge_litert")
    assert found is not None
    return Path((found.submodule_search_locations or [""])[0])


def test_nothing_is_carried_where_no_folder_is_named() -> None:
    assert carried_libraries(LocalDevice(name="here")) == {}


def test_a_folder_without_the_library_or_with_too_many_is_refused(tmp_path: Path) -> None:
    device = LocalDevice(name="here", litert_carry=str(tmp_path))
    with pytest.raises(ConfigError, match=r"\[devices\.here\] litert_carry = .* holds no libLiteRt\.so"):
        carried_libraries(device)
    for number in range(64):
        (tmp_path / f"lib{number}.so").touch()
    (tmp_path / "libLiteRt.so").touch()
    with pytest.raises(ConfigError, match="65 libraries; 64 at most"):
        carried_libraries(device)


def test_a_library_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "libLiteRt.so").touch()
    (tmp_path / "libother.so").symlink_to("/proc/self/mem")
    device = LocalDevice(name="here", litert_carry=str(tmp_path))
    with pytest.raises(ConfigError, match=r"litert_carry = .*libother\.so cannot be read"):
        carried_libraries(device)


@pytest.mark.device
def test_a_device_runs_the_library_that_is_carried_to_it_and_is_sent_it_once(tmp_path: Path) -> None:
    folder = tmp_path / "libraries"
    folder.mkdir()
    shutil.copy(package_folder() / "libLiteRt.so", folder)
    (folder / "notes.txt").write_text("not carried")
    device = LocalDevice(name="here", root=str(tmp_path / "root"), litert_carry=str(folder))
    for is_first in (True, False):
        connection = Connection(
            device, open_transport(device), owner=new_owner(), wait_s=0, runtimes=["litert"]
        )
        connection.open(cancel=threading.Event())
        (found,) = [one for one in connection.hello["runtimes"] if one["name"] == "litert"]
        assert found["package"] == "libLiteRt.so"
        assert found["version"] != "unknown"
        assert (connection.sent_bytes > 1 << 20) is is_first
        connection.close()
    assert [path.name for path in (tmp_path / "root" / "libraries").glob("*/*")] == ["libLiteRt.so"]
