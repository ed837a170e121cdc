"""Text that a shell would run, in every place where a person's text travels over SSH: nothing is ever executed."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.short_campaigns import NETWORKS, await_no_process
from rigs.sleeping_models import measure, sleeping_installed
from rigs.sshd import Sshd, start_sshd

from harness.devices.client import AgentClient, deploy
from harness.devices.config import parse_devices
from harness.devices.doctor import diagnose
from harness.devices.runtimes import allowed_cores
from harness.devices.transports import open_transport
from harness.devices.transports.ssh import SshTransport
from harness.errors import DeviceError
from harness.store import Store
from space.errors import ConfigError

HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)  # where sshd lets a login begin, whatever $HOME is here

pytestmark = pytest.mark.ssh


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that hostile text would make; no test may leave it behind."""
    marker = tmp_path / "marker"
    yield marker
    assert not marker.exists(), "a command in the text was executed"
    assert not (HOME / "marker").exists()


def hostile(marker: Path) -> list[str]:
    """Return texts that would make the marker if a shell saw them unquoted."""
    make = f"touch {marker}"
    return [
        f"$({make})",
        f"`{make}`",
        f"; {make} ;",
        f"' ; {make} ; '",
        f'" ; {make} ; "',
        f"| {make}",
        f"a && {make}",
        f"x\\'; {make}",
        f"{{{make.replace(' ', ',')}}}",
    ]


@pytest.fixture
def transport(server: Sshd) -> Iterator[SshTransport]:
    transport = SshTransport(server.device())
    yield transport
    transport.close()


def test_a_hostile_python_is_refused_as_no_python(
    server: Sshd, transport: SshTransport, marker: Path
) -> None:
    for text in hostile(marker)[::2]:
        with pytest.raises(DeviceError, match="no Python at") as caught:
            deploy(transport, server.device(python=text))
        assert 'python = "/path/to/python3" in [devices.board]' in str(caught.value)
    for text in ("-c", "A=B", "~", "#"):
        with pytest.raises(DeviceError, match="device 'board'"):
            deploy(transport, server.device(python=text))


def test_a_hostile_root_is_a_folder_like_any_other(
    server: Sshd, transport: SshTransport, marker: Path, tmp_path: Path
) -> None:
    texts = hostile(marker)
    plainly_quoted = [text for text in texts if "\\" not in text]
    for number, names in enumerate((plainly_quoted, [*texts, "é"])):
        root = tmp_path / f'my "devices" {number}'
        for name in names:
            root /= name.replace("/", "_")
        device = server.device(root=str(root))
        client = AgentClient.start(transport, device, deploy(transport, device))
        client.lock(" ".join(texts))
        client.close()
        assert (root / "lock").exists() and (root / "parts").is_dir()


def test_a_root_with_spaces_and_quotes_works_from_end_to_end(
    server: Sshd, marker: Path, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "my store's file.sqlite"))
    root = tmp_path / f'my devices\' "root" $(touch {marker.name}) é'
    with sleeping_installed():
        outcome = measure(server.device(root=str(root)), store, NETWORKS[:1])
    store.close()
    assert (outcome.measured, outcome.failures, outcome.error) == (1, [], None)
    assert (root / "parts").is_dir()


def test_a_root_below_the_home_folder_may_begin_with_a_tilde(server: Sshd, transport: SshTransport) -> None:
    assert transport.run(["~/no such file"]).status == 127
    root = HOME / ".cache/harness-agent test"
    device = server.device(root="~/.cache/harness-agent test/$HOME")
    try:
        client = AgentClient.start(transport, device, deploy(transport, device))
        client.lock("test")
        assert (root / "$HOME/lock").exists()
        client.close()
        await_no_process(str(root))
    finally:
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        root.rmdir()


def test_a_hostile_user_is_refused_and_quoted_in_what_to_type(server: Sshd, marker: Path) -> None:
    for text in hostile(marker):
        with pytest.raises(DeviceError, match="login refused") as caught:
            SshTransport(server.device(user=text)).connect()
        line = str(caught.value).split("ssh-copy-id ", 1)[1].split("; or name")[0]
        assert shlex.split(line)[-1] == f"{text}@127.0.0.1", "pasting the line runs nothing else"


def test_a_hostile_address_is_no_option_and_no_command(server: Sshd, marker: Path) -> None:
    for text in ("-oProxyCommand=touch " + str(marker), f"$(touch {marker})", "a b", "é" * 60, ".."):
        with pytest.raises(DeviceError, match="no SSH connection"):
            SshTransport(server.device(address=text)).connect()


@pytest.mark.parametrize("key", ["python", "root", "user", "address", "key", "known_hosts"])
def test_control_characters_in_a_devices_file_do_no_harm(key: str, tmp_path: Path) -> None:
    for escape in ("\\n", "\\u0000", "\\r", "\\u001b[2J"):
        table = {"transport": "ssh", "address": "127.0.0.1", "port": 9} | {key: f"a{escape}b"}
        lines = "\n".join(f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in table.items())
        try:
            device = parse_devices(f"[devices.board]\n{lines}\n")["board"]
            open_transport(device).connect()
        except (ConfigError, DeviceError) as error:
            assert not any(ord(c) < 32 for c in str(error)), repr(str(error))
        else:
            raise AssertionError("nobody listens there")


def test_a_hostile_device_name_is_refused_with_its_line() -> None:
    for name in ("a b", "$(touch x)", "a;b", "../x", "a\\nb"):
        with pytest.raises(ConfigError, match="may hold only letters"):
            parse_devices(f'[devices."{name}"]\ntransport = "local"\n')


def test_hostile_cores_never_reach_the_device() -> None:
    for text in ('["$(touch x)"]', '"0; touch x"', "[-1]", "[1e9]", "[true]"):
        with pytest.raises(ConfigError, match="cores"):
            parse_devices(f'[devices.board]\ntransport = "ssh"\naddress = "x"\ncores = {text}\n')
    device = parse_devices('[devices.board]\ntransport = "local"\ncores = [4000]\n')["board"]
    with pytest.raises(ConfigError, match="core 4000 is not usable"):
        allowed_cores(device, {"cores": [0, 1], "clusters": [[0, 1]]}, None, ())


def test_doctor_survives_hostile_text(server: Sshd, marker: Path) -> None:
    for text in hostile(marker)[:2]:
        (check,) = diagnose(server.device(python=text))
        assert check.status == "FAIL"
