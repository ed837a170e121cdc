"""Packages for runtimes in the agent's own folder: nothing lands outside it, and nothing half-made counts."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from factories.wheels import make_wheel, runtime_wheels
from rigs.small_disk import small_disk

from device_agents import environment
from device_agents.environment import (
    answer_request,
    find_libc,
    install,
    packages_folder,
    read_note,
    run,
    told_packages,
    unpack,
    with_packages,
)
from device_agents.models import part_path
from device_agents.refusal import Refusal


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, which is all that pip finds."""
    folder = runtime_wheels(tmp_path / "index")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


@pytest.mark.parametrize(
    ("glibc", "loader", "found"),
    [
        ("glibc 2.36", "", ("glibc", "2.36")),
        ("glibc 2.36", "ld-musl-x86_64.so.1", ("glibc", "2.36")),  # Debian's package musl is installed, too
        (OSError(errno.EINVAL, "as musl's confstr ends"), "ld-musl-armhf.so.1", ("musl", "")),
        (ValueError("unrecognized configuration name"), "ld-musl-aarch64.so.1", ("musl", "")),
        (ValueError("unrecognized configuration name"), "ld-linux-aarch64.so.1", ("", "")),
    ],
)
def test_the_c_library_is_that_of_this_python_and_else_that_of_the_systems_loader(
    glibc: str | Exception, loader: str, found: tuple[str, str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confstr(name: str) -> str:
        assert name == "CS_GNU_LIBC_VERSION"
        if isinstance(glibc, Exception):
            raise glibc
        return glibc

    monkeypatch.setattr(os, "confstr", confstr)
    (root / "lib").mkdir()
    if loader:
        (root / "lib" / loader).touch()
    assert find_libc(root) == found


def put_part(root: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    path = part_path(root / "parts", digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return digest


def send(root: Path, *wheels: Path) -> dict[str, str]:
    return {wheel.name: put_part(root, wheel.read_bytes()) for wheel in wheels}


def ask(root: Path, do: str, **fields: Any) -> dict[str, Any]:
    return answer_request(root, {"do": do, "runtimes": ["tflite"], "limit_s": 60.0, **fields})


def tree(root: Path) -> set[str]:
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return {path for path in found if not path.startswith("parts") and path != "environment.lock"}


def wheel_with(name: str, *, mode: int = 0, text: str = "x") -> io.BytesIO:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("good.py", "")
        archive.writestr(info, text)
    return buffer


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../outside.py", 0),
        ("a/../../outside.py", 0),
        ("/tmp/outside.py", 0),
        ("a//outside.py", 0),
        ("./outside.py", 0),
        ("..\\outside.py", 0),
        ("made_up-1.data/purelib/../../outside.py", 0),
        ("link.py", stat.S_IFLNK | 0o777),
        ("pipe", stat.S_IFIFO | 0o644),
    ],
)
def test_a_wheel_that_leads_elsewhere_is_refused_before_anything_is_unpacked(
    root: Path, name: str, mode: int
) -> None:
    wheel = root.parent / "bad.whl"
    wheel.write_bytes(wheel_with(name, mode=mode, text="/etc/passwd").getvalue())
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(Refusal, match="leads outside its folder or is no plain file"):
        unpack("bad.whl", wheel, root)
    assert sorted(root.parent.rglob("*")) == before


def test_a_wheel_that_names_a_file_twice_or_unpacks_to_more_than_is_free_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = root.parent / "bad.whl"
    with pytest.warns(UserWarning, match="Duplicate name"):
        wheel.write_bytes(wheel_with("good.py").getvalue())
    with pytest.raises(Refusal, match="names a file twice"):
        unpack("bad.whl", wheel, root)
    wheel.write_bytes(wheel_with("zeros", text="0" * 100_000).getvalue())
    monkeypatch.setattr(environment, "free_bytes", lambda path: 50_000)
    with pytest.raises(Refusal, match=r"no space left for the wheel bad\.whl: it unpacks to 100000 bytes"):
        unpack("bad.whl", wheel, root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 10, 100, -30])
def test_a_wheel_that_is_none_is_refused(root: Path, cut: int) -> None:
    wheel = root.parent / "cut.whl"
    wheel.write_bytes(wheel_with("more.py", text="x" * 500).getvalue()[:cut])
    with pytest.raises(Refusal, match=r"cut\.whl cannot be unpacked"):
        unpack("cut.whl", wheel, root)


def test_modules_of_a_wheels_data_folders_are_unpacked_and_its_programs_are_not(root: Path) -> None:
    buffer = io.BytesIO()
    names = (
        "a-1.data/purelib/pure.py",
        "a-1.data/platlib/b/c.so",
        "a-1.data/scripts/tool",
        "a-1.data/data/etc/x",
    )
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("a/", *names):
            archive.writestr(name, "")
    (root.parent / "a.whl").write_bytes(buffer.getvalue())
    unpack("a.whl", root.parent / "a.whl", root)
    assert tree(root) == {"pure.py", "b/c.so"}


def test_carried_wheels_are_unpacked_noted_and_removed_again(root: Path) -> None:
    wheels = send(root, *runtime_wheels(root.parent / "index").glob("*.whl"))
    note = ask(root, "wheels", wheels=wheels)["note"]
    assert note["packages"] == {"ai-edge-litert": "2.3.0", "made-up-need": "1.0"}
    assert (note["how"], note["runtimes"], note["executable"]) == ("carried", ["tflite"], sys.executable)
    assert read_note(root) == note
    folder = packages_folder(root)
    assert folder is not None and (folder / "ai_edge_litert" / "interpreter.py").is_file()
    assert not any((root / "parts").glob("*/*")), "the wheels only take room now"
    assert ask(root, "remove")["note"] == note
    assert tree(root) == set() and read_note(root) == {}
    assert ask(root, "remove")["note"] is None


def test_a_wheel_that_came_otherwise_than_it_was_sent_leaves_the_former_packages(root: Path) -> None:
    former = ask(
        root, "wheels", wheels=send(root, make_wheel(root.parent, "former", "1.0", {"former.py": ""}))
    )
    before = tree(root)
    wheels = send(root, *runtime_wheels(root.parent / "index").glob("*.whl"))
    altered = part_path(root / "parts", next(iter(wheels.values())))
    altered.write_bytes(altered.read_bytes()[:-1] + b"!")
    with pytest.raises(Refusal, match="has not come as it was sent"):
        ask(root, "wheels", wheels=wheels)
    altered.unlink()
    with pytest.raises(Refusal, match="has not come as it was sent"):
        ask(root, "wheels", wheels=wheels)
    assert tree(root) == before and read_note(root) == former["note"]


def test_an_account_whose_pip_requires_virtual_environments_is_no_hindrance(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "true")
    assert run(["sh", "-c", "echo $PIP_REQUIRE_VIRTUALENV"], root, 60.0) == (0, "0")


def test_pip_installs_what_is_asked_for_with_what_that_needs(root: Path, index: Path) -> None:
    note = ask(root, "pip", requirements=["ai-edge-litert>=1.2"])["note"]
    assert note["packages"] == {"ai-edge-litert": "2.3.0", "made-up-need": "1.0"} and note["how"] == "pip"
    assert all(
        path.startswith(("environment.json", f"environments/{note['folder']}/")) for path in tree(root)
    )


def test_pip_leaves_out_what_packages_need_where_the_device_has_it(root: Path, index: Path) -> None:
    note = ask(root, "pip", requirements=["ai-edge-litert"], no_deps=True)["note"]
    assert note["packages"] == {"ai-edge-litert": "2.3.0"}


@pytest.mark.parametrize(
    "requirement",
    ["--index-url=http://example.org", "-r/etc/passwd", "a b", "git+https://x", "/tmp/a.whl", ""],
)
def test_pip_and_pkg_are_asked_for_nothing_but_names_and_versions(root: Path, requirement: str) -> None:
    for do in ("pip", "pkg"):
        with pytest.raises(Refusal, match="can be asked for"):
            ask(root, do, requirements=[requirement])
    assert tree(root) == set()


@pytest.mark.long
def test_what_pip_says_of_its_failure_is_told_and_the_former_packages_stay(root: Path, index: Path) -> None:
    former = ask(root, "pip", requirements=["made-up-need"])["note"]
    before = tree(root)
    with pytest.raises(Refusal, match=r"(?s)pip ended with status 1: .*nowhere-to-be-found"):
        ask(root, "pip", requirements=["nowhere-to-be-found"])
    assert tree(root) == before and read_note(root) == former


@pytest.mark.long
def test_a_disk_that_fills_up_on_the_way_leaves_the_former_packages(tmp_path: Path, index: Path) -> None:
    make_wheel(index, "large", "1.0", {"large.py": "#" * 4_000_000})
    with small_disk(tmp_path / "disk", 16 << 20) as disk:
        former = ask(disk.folder, "pip", requirements=["made-up-need"])["note"]
        before = tree(disk.folder)
        disk.fill(1 << 20)
        with pytest.raises(Refusal, match="No space left on device"):
            ask(disk.folder, "pip", requirements=["large"])
        assert {path for path in tree(disk.folder) if path != "ballast"} == before
        assert read_note(disk.folder) == former


STEP = """
import subprocess, sys, time
from pathlib import Path
process = subprocess.Popen(["sleep", "60"])
Path("sleeps").write_text(str(process.pid))
time.sleep(60)
"""


def ended(folder: Path) -> bool:
    """Tell whether what a step started has ended, with some patience."""
    pid = int((folder / "sleeps").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "(sleep) Z" in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.05)
    return False


def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(root: Path) -> None:
    with pytest.raises(Refusal, match=r"took more than 1 s"):
        run([sys.executable, "-c", STEP], root, 1.0)
    assert ended(root)


def test_a_step_is_ended_with_all_that_it_started_once_who_asked_is_gone(root: Path) -> None:
    code = "import sys; from pathlib import Path; from device_agents.environment import run\n"
    code += f"run([sys.executable, '-c', {STEP!r}], Path({str(root)!r}), 60.0)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    while not (root / "sleeps").exists() or not (root / "sleeps").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.stdout.close()
    assert process.wait(30) != 0 and ended(root)


KILLED = """
import sys, time
from pathlib import Path
from device_agents import environment
def fill(folder):
    (folder / "half.py").write_text("half")
    print("half", flush=True)
    time.sleep(60)
root = Path(sys.argv[1])
with environment.locked(root):
    environment.install(root, fill, {"runtimes": ["tflite"]})
"""


def test_a_kill_in_mid_way_leaves_the_former_packages_and_the_next_run_sweeps(root: Path) -> None:
    former = ask(
        root, "wheels", wheels=send(root, make_wheel(root.parent, "former", "1.0", {"former.py": ""}))
    )
    before = tree(root)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(root)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"half\n"
    with pytest.raises(Refusal, match="another harness installs packages there now"):
        ask(root, "remove")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert tree(root) - before == {path for path in tree(root) if path.endswith("half.py")} != set()
    assert read_note(root) == former["note"]
    folder = packages_folder(root)
    assert folder is not None and (folder / "former.py").is_file()
    later = ask(root, "wheels", wheels=send(root, make_wheel(root.parent, "later", "2.0", {"later.py": ""})))
    assert not any(path.endswith(("half.py", "former.py")) for path in tree(root))
    assert read_note(root) == later["note"]


def test_a_failure_as_the_note_is_written_leaves_the_former_packages(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = ask(
        root, "wheels", wheels=send(root, make_wheel(root.parent, "former", "1.0", {"former.py": ""}))
    )

    def fails(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="No space left"):
        install(root, lambda folder: {"packages": {"x": "1"}, "how": "pip"}, {"runtimes": []})
    assert read_note(root) == former["note"] and packages_folder(root) is not None


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"folder": "../.."}', '{"folder": "0a"}', '{"folder": 5}', "\xff"]
)
def test_a_note_that_is_none_or_names_a_folder_elsewhere_counts_as_no_packages(root: Path, note: str) -> None:
    (root / "environments").mkdir()
    (root / "environment.json").write_text(note, "latin-1")
    assert read_note(root) == {} and packages_folder(root) is None and told_packages(root) == {}
    assert with_packages({"A": "b"}, root) == {"A": "b"}


def test_packages_come_after_the_users_paths_and_before_all_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(root, "wheels", wheels=send(root, make_wheel(root.parent, "a", "1.0", {"a.py": ""})))
    folder = str(packages_folder(root))
    monkeypatch.setenv("PYTHONPATH", "/inherited")
    assert with_packages({}, root) == {"PYTHONPATH": f"{folder}:/inherited"}
    assert with_packages({"PYTHONPATH": "/named"}, root) == {"PYTHONPATH": f"/named:{folder}"}
    monkeypatch.delenv("PYTHONPATH")
    assert with_packages({}, root) == {"PYTHONPATH": folder}


@pytest.mark.parametrize("change", [{"executable": "/usr/bin/other"}, {"version": [2, 7, 18]}])
def test_packages_of_another_python_are_told_of_and_not_used(root: Path, change: dict[str, Any]) -> None:
    note = ask(root, "wheels", wheels=send(root, make_wheel(root.parent, "a", "1.0", {"a.py": ""})))["note"]
    (root / "environment.json").write_text(json.dumps({**note, **change}))
    told = told_packages(root)
    assert told["is_used"] is False and told["packages"] == {"a": "1.0"}
    assert packages_folder(root) is None and with_packages({}, root) == {}


PKG = """#!/bin/sh
# Termux's pkg and dpkg: what is installed lies as a file in a folder.
case "$(basename "$0") $1" in
"dpkg -s") test -f "$HERE/$2" ;;
"pkg install")
    test ! -f "$HERE/broken" || { echo "E: held packages"; exit 100; }
    shift 2
    for name; do touch "$HERE/$name"; done ;;
"pkg uninstall") shift 2; for name; do rm "$HERE/$name"; done ;;
*) exit 9 ;;
esac
"""


@pytest.fixture
def termux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs, here = tmp_path / "bin", tmp_path / "installed"
    programs.mkdir()
    here.mkdir()
    for name in ("pkg", "dpkg"):
        (programs / name).write_text(PKG)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(here))
    return here


def test_termux_packages_are_installed_by_pkg_and_only_those_that_were_not_there_are_removed(
    root: Path, termux: Path
) -> None:
    (termux / "python-onnxruntime").touch()
    names = ["python-onnxruntime", "python-tflite-runtime"]
    note = ask(root, "pkg", requirements=names)["note"]
    assert note["pkg"] == ["python-tflite-runtime"] and note["how"] == "pkg"
    assert sorted(path.name for path in termux.iterdir()) == names
    assert ask(root, "pkg", requirements=names)["note"]["pkg"] == ["python-tflite-runtime"], (
        "it is still ours"
    )
    ask(root, "remove")
    assert [path.name for path in termux.iterdir()] == ["python-onnxruntime"] and read_note(root) == {}


def test_what_pkg_says_of_its_failure_is_told(root: Path, termux: Path) -> None:
    (termux / "broken").touch()
    with pytest.raises(Refusal, match="pkg ended with status 100: E: held packages"):
        ask(root, "pkg", requirements=["python-onnxruntime"])
    assert read_note(root) == {}
