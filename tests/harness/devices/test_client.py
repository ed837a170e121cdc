"""What the device answers before there is an agent: checked, for the device is foreign."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from factories.sent_models import assembly_of
from rigs.read_only import read_only
from rigs.small_disk import small_disk

from harness.devices import client
from harness.devices.client import AgentClient, deploy
from harness.devices.config import LocalDevice
from harness.devices.transports.local import LocalTransport
from harness.errors import DeviceError, LinkError


@pytest.mark.parametrize(
    "answer",
    [
        "HARNESS-BOOT {}",
        "HARNESS-BOOT [",
        "HARNESS-BOOT 7",
        'HARNESS-BOOT {"python": ["3"], "present": true}',
    ],
)
def test_a_garbled_answer_of_the_device_is_quoted(answer: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{answer}'\n")
    python.chmod(0o755)
    with pytest.raises(DeviceError, match="device 'odd': unreadable answer 'HARNESS-BOOT"):
        deploy(LocalTransport(), LocalDevice(name="odd", python=str(python)))


def test_an_agent_that_cannot_be_stored_is_told_with_the_remedy_for_just_that(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    device = LocalDevice(name="odd", root=str(root / "agent"))
    words = "on the device: nothing can be written on that file system|on the device: this account may not"
    with read_only(root), pytest.raises(DeviceError, match=words) as refusal:
        deploy(LocalTransport(), device)
    assert 'root = "..." in [devices.odd]' in str(refusal.value)
    with small_disk(tmp_path / "disk", 1 << 16) as disk:
        disk.fill(0)
        device = LocalDevice(name="odd", root=str(disk.folder / "agent"))
        with pytest.raises(DeviceError, match="on the device: the disk is full"):
            deploy(LocalTransport(), device)


def test_an_agent_that_is_gone_at_the_next_login_is_told_with_the_key_for_a_folder_that_stays(
    tmp_path: Path,
) -> None:
    device = LocalDevice(name="odd", root=str(tmp_path / "root"))
    deployment = deploy(LocalTransport(), device)
    Path(deployment.path).unlink()
    with pytest.raises(DeviceError, match=r'is gone at the next login.*root = "\.\.\." in \[devices\.odd\]'):
        AgentClient.start(LocalTransport(), device, deployment)


def test_a_folder_in_characters_that_the_device_takes_for_others_is_found_again(tmp_path: Path) -> None:
    """Its login has an 8-bit locale, as on old systems; this machine's text comes in UTF-8."""
    locale = tmp_path / "latin"
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", locale], capture_output=True
    )
    if not made or not locale.is_dir():
        pytest.skip("needs localedef and its sources (Debian: locales)")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nLOCPATH={tmp_path} LC_ALL=latin exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    device = LocalDevice(name="odd", python=str(python), root=str(tmp_path / "caf\u00e9"))
    transport = LocalTransport()
    client = AgentClient.start(transport, device, deploy(transport, device))
    client.close()
    assert (tmp_path / "caf\u00e9" / "parts").is_dir()


def test_a_refusal_of_the_device_s_system_has_its_remedy_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, device = LocalTransport(), LocalDevice(name="here", root=str(tmp_path / "root"))
    deployment = deploy(transport, device)
    client = AgentClient.start(transport, device, deployment)
    told = client._error(
        {"kind": "agent-error", "message": "the device's system refused: Too many open files"}
    )
    client.close()
    assert "on the device: raise the limit of open files there" in str(told)
    with read_only(tmp_path / "root"), pytest.raises(LinkError, match="on the device: ") as refusal:
        AgentClient.start(transport, device, replace(deployment, root=str(tmp_path / "root" / "other")))
    assert "name a folder of your own" not in str(refusal.value) or "Permission denied" in str(refusal.value)


@pytest.mark.device
def test_modules_that_lie_about_on_the_device_and_a_site_that_prints_disturb_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, site = tmp_path / "home", tmp_path / "site"
    for folder in (home, site):
        folder.mkdir()
    for name in ("json", "hashlib", "struct", "argparse"):
        (home / f"{name}.py").write_text("raise RuntimeError('not the one that was meant')\n")
    (site / "sitecustomize.py").write_text(
        "import os, sys\nprint('Welcome to this Python')\nsys.stdout.flush()\nos.write(1, b'HRN1 and more\\n' * 9)\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", str(site))
    transport, device = LocalTransport(), LocalDevice(name="here", root=str(tmp_path / "root"))
    client = AgentClient.start(transport, device, deploy(transport, device))
    hello = client.hello(runtimes=["tflite", "litert"])
    client.close()
    assert [runtime["name"] for runtime in hello["runtimes"]] == ["tflite", "litert"]
    assert hello["broken"] == []


@pytest.mark.device
def test_more_parts_than_one_request_may_name_are_asked_for_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.devices.client.DIGESTS_AT_ONCE", 2)
    models = [assembly_of(b"skeleton", b"a", b"b", b"c", b"d", b"e")]
    transport, device = LocalTransport(), LocalDevice(name="here", root=str(tmp_path / "root"))
    client = AgentClient.start(transport, device, deploy(transport, device))
    assert client.send_models(models) > 0
    client.forget_parts()
    assert client.send_models(models) == 0
    client.close()
    assert {path.name for path in (tmp_path / "root/parts").glob("??/*")} >= set(models[0].parts)


def test_a_python_without_zlib_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    python, root = tmp_path / "python", tmp_path / "root"
    without = "import sys; sys.modules['zlib'] = None; exec(sys.argv.pop(1))"
    python.write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} -c "{without}" "$@"\n')
    python.chmod(0o755)
    with pytest.raises(DeviceError, match=r"device 'odd': .*python' has no module zlib, .*name another with"):
        deploy(LocalTransport(), LocalDevice(name="odd", python=str(python), root=str(root)))
    assert not root.exists()


def test_a_python_without_all_of_its_library_is_refused_with_what_completes_it(tmp_path: Path) -> None:
    python, start = tmp_path / "python", tmp_path / "start.py"
    start.write_text("""import sys
class Minimal:
    def find_spec(self, name, *_):
        if name == "json":
            raise ModuleNotFoundError("No module named 'json'", name=name)
sys.modules.pop("json", None)
sys.meta_path.insert(0, Minimal())
exec(sys.argv.pop(1))
""")  # as Debian's python3-minimal ends
    python.write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} {start} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(DeviceError, match=r"has no module json, .*apt install python3\) or name another"):
        deploy(LocalTransport(), LocalDevice(name="odd", python=str(python), root=str(tmp_path / "root")))


def test_what_arrives_damaged_is_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.devices.client._compressed", lambda archive: archive)
    with pytest.raises(DeviceError, match=r"the agent cannot be stored in .*: Error -3 while decompressing"):
        deploy(LocalTransport(), LocalDevice(name="odd", root=str(tmp_path / "root")))


@pytest.mark.parametrize(("step_s", "is_over"), [(600.0, False), (10.0, True)])
def test_an_agent_has_not_the_time_in_which_nobody_listened(
    step_s: float, is_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after Ctrl-Z: none is silent for longer than a heartbeat allows."""
    passed = iter(range(10))
    monkeypatch.setattr(client.time, "monotonic", lambda: step_s * next(passed))
    limit = client._Limit(limit_s=65.0, limit_bytes=1000)
    troubles = [limit.count(1) for _ in range(8 if is_over else 2)]
    assert ["alive, and told no result for 65 s" in text for text in troubles] == (
        [False] * 6 + [True] * 2 if is_over else [False] * 2
    )
