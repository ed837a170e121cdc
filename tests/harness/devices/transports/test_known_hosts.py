"""Which lines of known_hosts mean a host: judged by ssh-keygen; and which keys and certificates count then."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from pathlib import Path

import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.devices.transports.known_hosts import KnownKeys, is_meant, parse_key, read_known_keys
from space.errors import ConfigError

KEYGEN = shutil.which("ssh-keygen") or ""
pytestmark = pytest.mark.skipif(
    not KEYGEN, reason="needs OpenSSH's ssh-keygen (Debian: apt install openssh-client)"
)

NOW_S = time.time()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with key pairs a, b and c, an RSA and an ECDSA key, and a certifying pair ca."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("a", "b", "c", "ca"):
        _keygen("-t", "ed25519", "-N", "", "-f", str(folder / name))
    _keygen("-t", "rsa", "-b", "2048", "-N", "", "-f", str(folder / "rsa"))
    _keygen("-t", "ecdsa", "-N", "", "-f", str(folder / "ecdsa"))
    return folder


def _keygen(*arguments: str) -> None:
    subprocess.run([KEYGEN, "-q", *arguments], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def public(folder: Path, name: str) -> str:
    return " ".join((folder / f"{name}.pub").read_text().split()[:2])


def key(folder: Path, name: str) -> paramiko.PKey:
    found = parse_key(*public(folder, name).split())
    assert found is not None
    return found


def certificate(folder: Path, name: str, *options: str, ca: str = "ca") -> paramiko.PKey:
    """Certify a key anew and return it as a host shows it."""
    _keygen("-s", str(folder / ca), "-I", "host", *options, str(folder / f"{name}.pub"))
    kind, blob = (folder / f"{name}-cert.pub").read_text().split()[:2]
    shown = key(folder, name)
    shown.load_certificate(f"{kind} {blob}")
    return shown


PATTERNS = (
    "pi4.lab",
    "PI4.LAB",
    "*.lab",
    "pi?.lab",
    "other,pi4.lab",
    "*.lab,!pi4.lab",
    "!pi4.lab,*.lab",
    "!other.lab,*.lab",
    "*",
    "[pi4.lab]:2222",
    "[*.lab]:2222",
    "*.lab:2222",
    "[p]i4.lab",
    "2001:db8::1",
    "pi4.lab.",
)


@pytest.mark.parametrize("name", ["pi4.lab", "[pi4.lab]:2222", "2001:db8::1"])
def test_patterns_mean_the_hosts_that_ssh_keygen_finds(name: str, folder: Path, tmp_path: Path) -> None:
    for pattern in PATTERNS:
        (tmp_path / "known").write_text(f"{pattern} {public(folder, 'a')}\n")
        done = subprocess.run([KEYGEN, "-F", name, "-f", str(tmp_path / "known")], capture_output=True)
        assert is_meant(pattern, name) is (done.returncode == 0), pattern


def test_hashed_names_are_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"[pi4.lab]:2222,other {public(folder, 'a')}\n")
    _keygen("-H", "-f", str(tmp_path / "known"))
    assert "pi4" not in (tmp_path / "known").read_text()
    (line, *_) = (tmp_path / "known").read_text().splitlines()
    assert is_meant(line.split()[0], "[pi4.lab]:2222")
    assert not is_meant(line.split()[0], "pi4.lab")
    for bad in ("|1|", "|1|a|b|c", "|1|!!!|x", "|2|a|b"):
        assert not is_meant(bad, "pi4.lab")


def test_each_of_several_keys_of_one_type_counts(folder: Path, tmp_path: Path) -> None:
    lines = [f"pi4.lab {public(folder, 'a')}", f"*.lab {public(folder, 'b')}", f"pi5 {public(folder, 'c')}"]
    (tmp_path / "known").write_text(
        "\n".join([*lines, f"@revoked *.lab {public(folder, 'rsa')}", "junk", ""])
    )
    known = read_known_keys([tmp_path / "absent", tmp_path / "known"], "pi4.lab", "pi4.lab", "known_hosts")
    assert [known.knows(key(folder, name), "pi4.lab") for name in ("a", "b", "c", "rsa")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_revoked_key_does_not_count_and_only_for_the_hosts_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"* {public(folder, 'a')}\n@revoked pi4 {public(folder, 'a')}\n")
    for name, is_known in (("pi4", False), ("pi5", True)):
        known = read_known_keys([tmp_path / "known"], name, name, "known_hosts")
        assert known.knows(key(folder, "a"), name) is is_known


def test_the_types_that_are_known_are_asked_for_first(folder: Path) -> None:
    assert KnownKeys(keys=(key(folder, "rsa"),)).algorithms()[:2] == ["rsa-sha2-512", "rsa-sha2-256"]
    assert KnownKeys(keys=(key(folder, "ecdsa"),)).algorithms()[0] == "ecdsa-sha2-nistp256"
    certified = KnownKeys(authorities=(key(folder, "ca"),)).algorithms()
    assert certified[0] == "ssh-ed25519-cert-v01@openssh.com"
    assert "ssh-ed25519" in certified


@pytest.mark.parametrize("name", ["a", "rsa", "ecdsa"])
def test_a_certificate_counts_for_the_hosts_that_it_names(name: str, folder: Path) -> None:
    known = KnownKeys(authorities=(key(folder, "ca"),))
    shown = certificate(folder, name, "-h", "-n", "pi4.lab,*.board", "-V", "+1d")
    assert known.knows(shown, "pi4.lab")
    assert known.knows(shown, "x.board")
    assert not known.knows(shown, "pi5.lab")
    assert not known.knows(shown, "pi4.lab", NOW_S + 2 * 86400), "it has ended"
    assert not known.knows(shown, "pi4.lab", NOW_S - 86400), "it has not begun"
    assert not known.knows(key(folder, name), "pi4.lab"), "the key without its certificate"


def test_a_certificate_of_anyone_else_or_for_a_user_does_not_count(folder: Path) -> None:
    known = KnownKeys(authorities=(key(folder, "ca"),))
    assert not known.knows(certificate(folder, "a", "-h", "-n", "pi4", ca="b"), "pi4")
    assert not known.knows(certificate(folder, "a", "-n", "pi4"), "pi4"), "a user's certificate"
    good = certificate(folder, "a", "-h", "-n", "pi4")
    assert known.knows(good, "pi4")
    assert not KnownKeys(
        authorities=known.authorities, revoked=frozenset({key(folder, "ca").asbytes()})
    ).knows(good, "pi4")
    blob = good.public_blob
    assert blob is not None
    signature_bytes = 4 + 4 + len(b"ssh-ed25519") + 4 + 64
    for place in range(40, len(blob.key_blob) - signature_bytes, 7):
        broken = bytearray(blob.key_blob)
        broken[place] ^= 1
        shown = key(folder, "a")
        shown.public_blob = paramiko.pkey.PublicBlob(blob.key_type, bytes(broken))
        assert not known.knows(shown, "pi4"), place


def test_what_is_no_plain_file_is_refused_and_dev_null_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (Path("/dev/zero"), tmp_path / "fifo", tmp_path):
        with pytest.raises(ConfigError, match=f"where: {path} is no plain file"):
            read_known_keys([path], "pi4", "pi4", "where")
    assert read_known_keys([Path(os.devnull)], "pi4", "pi4", "where") == KnownKeys()
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="16 MiB"):
        read_known_keys([tmp_path / "large"], "pi4", "pi4", "where")


@given(st.text(alphabet="pi4,*?![]|1=:@#AB \t", max_size=40), st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_line_and_no_certificate_breaks_the_check(folder: Path, line: str, blob: bytes) -> None:
    is_meant(line, "pi4")
    parse_key("ssh-ed25519", line)
    shown = key(folder, "a")
    shown.public_blob = paramiko.pkey.PublicBlob("ssh-ed25519-cert-v01@openssh.com", blob)
    assert not KnownKeys(authorities=(key(folder, "ca"),)).knows(shown, "pi4")


def test_a_key_of_numbers_that_none_has_is_no_key() -> None:
    negative, size = b"\xff", b"\0\0\0"
    blob = size + b"\7ssh-rsa" + size + b"\1" + negative + size + b"\x81\0" + 128 * negative
    assert parse_key("ssh-rsa", base64.b64encode(blob).decode()) is None
