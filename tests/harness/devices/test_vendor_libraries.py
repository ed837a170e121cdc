"""The table of phones' GPU drivers reaches the agent of every connection, and what the agent found reaches the harness."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.devices import client
from harness.devices.config import LocalDevice
from harness.devices.connection import Connection, new_owner
from harness.devices.transports.local import LocalTransport


@pytest.mark.device
@pytest.mark.parametrize("environment", [{}, {"LD_LIBRARY_PATH": "/mine"}])
def test_a_connection_leads_workers_to_the_driver_unless_the_user_names_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    (tmp_path / "libOpenCL.so").write_text("")
    row = {"vendor": "made up", "shows": [f"{tmp_path}/libOpenCL.so"], "paths": [str(tmp_path)]}
    monkeypatch.setattr(client, "vendor_libraries", lambda: [row])
    device = LocalDevice(name="phone", root=str(tmp_path / "root"), environment=environment)
    connection = Connection(device, LocalTransport(), owner=new_owner(), runtimes=("tflite",))
    connection.open(lock=False)
    try:
        driver = connection.hello["driver"]
    finally:
        connection.close()
    told = {"vendor": "made up", "shown_by": f"{tmp_path}/libOpenCL.so"}
    if environment:
        assert driver == told | {"trouble": "environment names LD_LIBRARY_PATH"}
    else:
        assert driver == told | {"variables": {"LD_LIBRARY_PATH": str(tmp_path)}}
