"""~/.ssh/config is read as ssh reads it: judged by `ssh -G`, where that is installed, and by what it must say."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.devices.config import SshDevice
from harness.devices.transports import ssh_config
from harness.devices.transports.ssh_config import read_settings
from harness.devices.transports.ssh_hosts import find_way
from space.errors import ConfigError

LAB = """
# the lab
Host pi4 pi5 "pi with space" !pi9
    HostName=%h.lab.example   # by its name
    User "pi"
    Port = 2222
    # IdentityFile ~/.ssh/lab key
    IdentityFile "~/.ssh/lab key"
    IdentityFile '/keys/%r@%h~old'
    IdentitiesOnly yes
    UserKnownHostsFile ~/.ssh/lab_hosts "/etc/lab hosts" # two of them
    ProxyJump gate
    ProxyCommand nc %h %p

Host *.gpu
  ProxyCommand ssh -W '[%h]:%p' gate   # no comment: the rest of the line
  ProxyJump other
  HostKeyAlias %h-alias
Host [pi]
  User bracket
Host pi?
  User "never: the first value wins"
  IdentityFile ~/.ssh/second
Match originalhost pi5 user pi
  Port 7
  HostKeyAlias five
Match Host pi4.lab.example
  IdentityFile /matched
Match host=pi5.lab.example exec "test %n = pi5"
  HostKeyAlias from-exec
Match !host *.example originalhost bare
  User alone
Match all
  IdentityFile ~/.ssh/all
Host *
  User everyone
  UnknownOption-We-Ignore yes
  SendEnv LANG
"""


def settings_file(folder: Path, text: str) -> str:
    path = folder / "config"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(ssh_config, "SYSTEM_CONFIG", str(tmp_path / "absent"))
    return home


@pytest.mark.parametrize("name", ["pi4", "pi5", "pi9", "board.gpu", "p", "bare", "[pi]", "2001:db8::1"])
def test_settings_are_those_that_ssh_finds(name: str, tmp_path: Path, home: Path) -> None:
    ssh = shutil.which("ssh")
    if ssh is None:
        pytest.skip("needs OpenSSH's ssh (Debian: apt install openssh-client)")
    text = "IgnoreUnknown UnknownOption*\n" + LAB
    config = settings_file(tmp_path, text)
    done = subprocess.run([ssh, "-G", "-F", config, name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = [line.partition(" ")[::2] for line in done.stdout.splitlines()]
    said = dict(told)
    files = [Path(value).expanduser() for key, value in told if key == "identityfile"]
    found = read_settings(name, config)
    assert found.hostname == said["hostname"]
    assert found.user == said["user"]
    assert str(found.port or 22) == said["port"]
    assert found.host_key_alias.replace(found.hostname, "%h") == said.get("hostkeyalias", "")
    assert found.identities_only is (said["identitiesonly"] == "yes")
    kind, proxy = found.proxy
    assert (proxy if kind == "jump" else None) == said.get("proxyjump")
    assert (proxy if kind == "command" else None) == said.get("proxycommand")
    plain = [str(path) for path in files if "%" not in str(path)]  # ssh shows tokens as they are written
    assert [str(path) for path in found.identity_files or () if "~old" not in str(path)] == plain


def test_criteria_that_cannot_be_told_here_are_not_met(tmp_path: Path, home: Path) -> None:
    text = "Match tagged x\n User a\nMatch host pi4 localnetwork 10.0.0.0/8\n User b\nMatch !version 1\n User c\n"
    assert read_settings("pi4", settings_file(tmp_path, text)).user == ""


def test_tokens_tildes_and_quotes_within_values(tmp_path: Path, home: Path) -> None:
    found = read_settings("pi4", settings_file(tmp_path, LAB))
    assert found.identity_files == (
        home / ".ssh/lab key",
        Path("/keys/pi@pi4.lab.example~old"),
        home / ".ssh/second",
        Path("/matched"),
        home / ".ssh/all",
    )
    assert found.user_known_hosts == (home / ".ssh/lab_hosts", Path("/etc/lab hosts"))


def test_included_files_count_where_their_block_holds_and_it_goes_on_behind_them(
    tmp_path: Path, home: Path
) -> None:
    (home / ".ssh/conf.d").mkdir()
    (home / ".ssh/conf.d/a").write_text("Host pi4\n  User included\nHost other\n  Port 9\n")
    (home / ".ssh/conf.d/b").write_text("Port 2022\n")
    config = home / ".ssh/config"
    config.write_text(
        "Include conf.d/*  absent ~/absent\nHost pi4\n  Include conf.d/b\n  HostName inner\nHost else\n  Include conf.d/b\n"
        "Host *\n  User late\n"
    )
    for path in (config, *(home / ".ssh/conf.d").iterdir()):
        path.chmod(0o600)
    found = read_settings("pi4", "~/.ssh/config")
    assert (found.user, found.port, found.hostname) == ("included", 2022, "inner")
    found = read_settings("third", "~/.ssh/config")
    assert (found.user, found.port, found.hostname) == ("late", 2022, "third"), (
        "the first Include held for all"
    )
    config.write_text("Host else\n  Include conf.d/b\nHost *\n  Include config\n")
    with pytest.raises(ConfigError, match="include itself"):
        read_settings("pi4", "~/.ssh/config")


def test_the_systems_file_counts_after_ones_own(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system"
    system.write_text("Host *\n  Port 7\n  User system\n")
    system.chmod(0o644)
    monkeypatch.setattr(ssh_config, "SYSTEM_CONFIG", str(system))
    (home / ".ssh/config").write_text("Host pi4\n  Port 8\n")
    found = read_settings("pi4", "~/.ssh/config")
    assert (found.port, found.user) == (8, "system")
    assert read_settings("pi4", "none").port is None
    assert read_settings("pi4", str(home / ".ssh/config")).user == "", (
        "another file stands alone, as with ssh -F"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Port many", ["Host pi4", "'many'"]),
        ("IdentityFile %y", ["%y"]),
        ("IdentityFile ${NO_SUCH_VARIABLE}/key", ["NO_SUCH_VARIABLE"]),
        ("IdentityFile ~nobody-here/key", ["~nobody-here/key"]),
        ("Host pi4\nMatch host", ["config:2", "'host' has no value"]),
        ("Match all host x", ["pi4"]),
        ("CanonicalizeHostname yes\nCanonicalizeMaxDots few\nCanonicalDomains lab", ["pi4"]),
        ("CanonicalizeHostname yes", ["pi4"]),
        ("Host # none", ["pi4"]),
        ('Match exec "sleep 60"', ["config:1", "did not end"]),
    ],
)
def test_what_cannot_be_meant_is_said_with_the_file(
    text: str, words: list[str], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_config, "EXEC_TIMEOUT_S", 0.2)
    with pytest.raises(ConfigError) as caught:
        read_settings("pi4", settings_file(tmp_path, text + "\n"))
    for word in words:
        assert word in str(caught.value)


def test_a_settings_file_that_is_no_plain_file_or_not_ones_own_is_refused(tmp_path: Path, home: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    started = time.monotonic()
    for path in ("/dev/zero", str(tmp_path / "fifo"), str(tmp_path)):
        with pytest.raises(ConfigError, match="no plain file"):
            read_settings("pi4", path)
    assert time.monotonic() - started < 2
    Path(settings_file(tmp_path, "Port 7\n")).chmod(0o666)
    with pytest.raises(ConfigError, match="chmod go-w"):
        read_settings("pi4", str(tmp_path / "config"))
    assert read_settings("pi4", "/dev/null").port is None


def test_the_devices_file_wins_over_the_settings(tmp_path: Path, home: Path) -> None:
    config = settings_file(
        tmp_path,
        "Host pi4\n HostName 10.0.0.4\n Port 2222\n User pi\n IdentityFile /k\n ProxyJump gate\n UserKnownHostsFile /a\n"
        "Match user root\n HostKeyAlias rooted\n",
    )

    def way(**fields: object) -> tuple[object, ...]:
        *hops, host = find_way(SshDevice(name="b", address="pi4", ssh_config=config, **fields))  # type: ignore[arg-type]
        return host.user, host.hostname, host.port, [hop.hostname for hop in hops]

    assert way() == ("pi", "10.0.0.4", 2222, ["gate"])
    assert way(port=22, user="ada", jump="none") == ("ada", "10.0.0.4", 22, [])
    assert way(jump="x@one:1,two") == ("pi", "10.0.0.4", 2222, ["one", "two"])
    host = find_way(
        SshDevice(name="b", address="root@pi4:7", key="/mine", known_hosts="/b", ssh_config=config)
    )[-1]
    assert (host.user, host.port, host.keys, host.only_keys) == ("root", 7, (Path("/mine"),), True)
    assert (host.host_key_name, host.known_hosts) == ("rooted", (Path("/b"),))
    host = find_way(SshDevice(name="b", address="pi4", ssh_config=config))[-1]
    assert (host.keys, host.only_keys, host.known_hosts[0]) == ((Path("/k"),), False, Path("/a"))
    assert host.host_key_name == "[10.0.0.4]:2222"


def test_jump_hosts_have_settings_of_their_own_and_a_circle_ends(tmp_path: Path, home: Path) -> None:
    config = settings_file(
        tmp_path,
        "Host gate\n HostName gate.example\n ProxyJump outer\nHost outer\n Port 7\nHost pi*\n ProxyJump gate,inner\n",
    )
    hops = find_way(SshDevice(name="b", address="pi4", ssh_config=config))
    assert [(hop.hostname, hop.port, hop.is_jump) for hop in hops] == [
        ("outer", 7, True),
        ("gate.example", 22, True),
        ("inner", 22, True),
        ("pi4", 22, False),
    ]
    config = settings_file(tmp_path, "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    with pytest.raises(ConfigError, match="lead back to itself"):
        find_way(SshDevice(name="b", address="a", ssh_config=config))


def test_names_that_a_shell_would_act_on_never_reach_a_proxy_command(tmp_path: Path, home: Path) -> None:
    config = settings_file(tmp_path, "Host *\n ProxyCommand nc %h %p\n")
    for address, user in (("$(touch x)", "pi"), ("-oProxyCommand=x", "pi"), ("a;b", "pi"), ("a", "`id`")):
        with pytest.raises(ConfigError, match="shell"):
            find_way(SshDevice(name="b", address=address, user=user, ssh_config=config))
    assert find_way(SshDevice(name="b", address="pi4:7", ssh_config=config))[0].proxy_command == "nc pi4 7"


def test_an_account_without_a_name_needs_one_only_where_settings_ask_for_it(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    device = SshDevice(name="b", address="pi@10.0.0.4")
    assert find_way(device)[-1].user == "pi"
    for other in (
        SshDevice(name="b", address="10.0.0.4"),
        SshDevice(name="b", address="pi@10.0.0.4", ssh_config=settings_file(tmp_path, "Host *\n Port 7\n")),
    ):
        with pytest.raises(ConfigError, match="export LOGNAME=NAME"):
            find_way(other)


WORDS = r"""
Host Match Include Port User HostName IdentityFile ProxyJump ProxyCommand UserKnownHostsFile
all host !host final none = * %h % ~ " ' # [ \
"""


@given(st.lists(st.text(min_size=1, max_size=30), max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_whatever_a_settings_file_holds_is_read_or_refused(texts: list[str], random: Random) -> None:
    words = WORDS.split()
    lines = [" ".join([*random.choices(words, k=3), text, *random.choices(words, k=2)]) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        config = settings_file(Path(folder), "\n".join(lines))
        try:
            find_way(SshDevice(name="b", address="pi@pi4", ssh_config=config))
        except ConfigError as error:
            assert str(error)
