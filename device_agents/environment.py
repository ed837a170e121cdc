"""Packages that the harness installs for runtimes, in a folder of the agent's own: survey, installation, removal.

A folder below `environments` holds unpacked packages. Only the one that the note `environment.json` names counts, and the note is
replaced in one step once the folder is whole: whatever ends on the way leaves the former state. Runtimes find the packages by
PYTHONPATH, before the system's, so that neither a virtual environment nor a change of the system is needed.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import sysconfig
import time
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

from device_agents.models import part_path
from device_agents.parts_cache import free_bytes
from device_agents.readings import run_bounded
from device_agents.refusal import Refusal
from device_agents.whole_files import file_digest, replacing

NOTE = "environment.json"
FOLDERS = "environments"
LINE = "HARNESS-ENVIRONMENT "
NOTE_BYTES = 1 << 20
BEAT_S = 1.0  # so soon is it noticed that who asked is gone
PIP_S = 60.0  # pip's start alone, on a small board
PIP_PATIENCE = ("--retries", "1", "--timeout", "20")
TOLD_CHARACTERS = 2000
UNPACKED_BYTES = 4 << 30
WHEELS = 64
REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,_-]+\])?([<>=!~]=?[A-Za-z0-9.*]+(,[<>=!~]=?[A-Za-z0-9.*]+)*)?"
)
DIGEST = re.compile("[0-9a-f]{64}")
ST_NOEXEC = getattr(os, "ST_NOEXEC", 0)  # Linux tells; macOS mounts no home so
ANDROID = hasattr(sys, "getandroidapilevel")


def serve_request(root: Path) -> int:
    """Answer the one request on standard input by a line of JSON on standard output; return the exit status."""
    try:
        answer = answer_request(root, json.loads(sys.stdin.buffer.read().decode("utf-8")))
    except BrokenPipeError:
        return 1
    except Refusal as refusal:
        answer = {"refused": refusal.message[:TOLD_CHARACTERS]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        answer = {"refused": ("%s: %s" % (type(error).__name__, error))[:TOLD_CHARACTERS]}
    sys.stdout.write("\n" + LINE + json.dumps(answer) + "\n")
    return 0


def refused(message: str) -> Refusal:
    """Return the refusal of what cannot be done."""
    return Refusal("environment", message)


def answer_request(root: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Do what `do` of a request says. Raises: Refusal, OSError."""
    if request["do"] == "survey":
        return survey(root)
    with locked(root):
        if request["do"] == "remove":
            return remove(root)
        fill = {"pip": by_pip, "wheels": by_wheels, "pkg": by_pkg}[request["do"]]
        return install(root, lambda folder: fill(root, folder, request), request)


def survey(root: Path) -> dict[str, Any]:
    """Return the facts by which packages for this Python are chosen."""
    libc, libc_version = find_libc()
    return {
        "executable": sys.executable,
        "implementation": platform.python_implementation(),
        "version": list(sys.version_info[:3]),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "machine": os.uname().machine,
        "bits": 8 * struct.calcsize("P"),
        "libc": libc,
        "libc_version": libc_version,
        "pip": find_pip(),
        "numpy": find_numpy(),
        "pkg": ANDROID and shutil.which("pkg") is not None,
        "free_bytes": free_bytes(root),
        "noexec": bool(os.statvfs(str(root)).f_flag & ST_NOEXEC),
        "note": read_note(root) or None,
    }


def find_libc(system: Path = Path("/")) -> tuple[str, str]:
    """Return the C library and its version: glibc, musl, bionic or empty. system: the root of its files."""
    if ANDROID:
        return "bionic", ""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):
        name, version = "", ""
    if name == "glibc":
        return name, version
    return ("musl", "") if list((system / "lib").glob("ld-musl-*")) else ("", "")


def find_pip() -> str:
    """Return the version of this Python's pip; empty where there is none that works."""
    try:
        done = run_bounded(
            [sys.executable, "-m", "pip", "--version"], PIP_S, env=plain_environment(), cwd="/"
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    told = re.match(r"pip ([0-9][0-9.a-z]*) ", done.stdout.decode("utf-8", "replace"))
    return told[1] if told and done.returncode == 0 else ""


def find_numpy() -> str:
    """Return the version of the numpy that this Python has of its own; empty without one."""
    from importlib import metadata  # takes an agent's start some milliseconds

    try:
        return metadata.version("numpy")
    except metadata.PackageNotFoundError:
        return ""


def read_note(root: Path) -> dict[str, Any]:
    """Return the note on the installed packages; empty where none are, or their folder is not there."""
    try:
        note = json.loads((root / NOTE).read_bytes()[:NOTE_BYTES].decode("utf-8"))
        folder = str(note["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(note) if re.fullmatch("[0-9a-f]+", folder) and (root / FOLDERS / folder).is_dir() else {}


def is_for_this_python(note: dict[str, Any]) -> bool:
    """Return whether packages were installed for this very Python: those with machine code fit no other."""
    return note.get("executable") == sys.executable and note.get("version", [])[:2] == list(
        sys.version_info[:2]
    )


def packages_folder(root: Path) -> Path | None:
    """Return the folder of installed packages that this Python is to use, if any."""
    note = read_note(root)
    return root / FOLDERS / str(note["folder"]) if note and is_for_this_python(note) else None


def with_packages(environment: dict[str, str], root: Path) -> dict[str, str]:
    """Return variables with which a process finds the installed packages: after those named by the user, before all others."""
    folder = packages_folder(root)
    if folder is None:
        return environment
    named = environment.get("PYTHONPATH", "")
    paths = [named, str(folder)] if named else [str(folder), os.environ.get("PYTHONPATH", "")]
    return dict(environment, PYTHONPATH=os.pathsep.join(path for path in paths if path))


def told_packages(root: Path) -> dict[str, Any]:
    """Return the part of `hello` on installed packages: which there are, of which Python, and whether this one uses them."""
    note = read_note(root)
    if not note:
        return {}
    return {
        "packages": note.get("packages", {}),
        "executable": note.get("executable", ""),
        "version": ".".join(map(str, note.get("version", []))),
        "is_used": is_for_this_python(note),
    }


def install(root: Path, fill: Callable[[Path], dict[str, Any]], request: dict[str, Any]) -> dict[str, Any]:
    """Make a folder of packages by `fill` and let it take the former one's place. Raises: Refusal, OSError."""
    sweep(root)
    folder = root / FOLDERS / os.urandom(8).hex()
    folder.mkdir(mode=0o700, parents=True)
    try:
        filled = fill(folder)
        note = {
            "folder": folder.name,
            "executable": sys.executable,
            "version": list(sys.version_info[:3]),
            "packages": filled.pop("packages", None) or installed_packages(folder),
            "runtimes": list(map(str, request["runtimes"])),
            **filled,
        }
        with replacing(root / NOTE) as partial:
            partial.write_text(json.dumps(note), "utf-8")
    finally:
        sweep(root)
    return {"note": note}


def remove(root: Path) -> dict[str, Any]:
    """Remove the installed packages, those of the system that were installed for them too."""
    note = read_note(root)
    if note.get("pkg"):
        status, said = run(["pkg", "uninstall", "-y", *map(str, note["pkg"])], root, 600.0)
        if status:
            raise refused("pkg uninstall ended with status %d: %s" % (status, said))
    if (root / NOTE).exists():
        (root / NOTE).unlink()
    sweep(root)
    return {"note": note or None}


def sweep(root: Path) -> None:
    """Remove all folders but the one that the note names."""
    kept = read_note(root).get("folder")
    for path in (root / FOLDERS).glob("*"):
        if path.name != kept:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let no other process change the packages meanwhile. Raises: Refusal."""
    fd = os.open(str(root / "environment.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refused(
                "another harness installs packages there now: ask again once it has ended"
            ) from None
        yield
    finally:
        os.close(fd)


def by_pip(root: Path, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Let this Python's pip install packages from its index. Raises: Refusal, OSError."""
    requirements = list(map(str, request["requirements"]))
    if not requirements or not all(REQUIREMENT.fullmatch(one) for one in requirements):
        raise refused("no requirements that pip can be asked for: %r" % requirements)
    usual = ["--no-input", "--no-user", "--no-cache-dir", "--no-compile", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "install", *usual, *PIP_PATIENCE]
    command += ["--no-deps"] if request.get("no_deps") else []
    command += ["--only-binary", ":all:", "--target", str(folder), "--", *requirements]
    temporary = root / FOLDERS / (folder.name + ".tmp")
    temporary.mkdir(mode=0o700)
    status, said = run(command, temporary, float(request["limit_s"]))
    if status:
        raise refused("pip ended with status %d: %s" % (status, said))
    return {"how": "pip"}


def by_wheels(root: Path, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Unpack wheels that the harness has sent as parts, by their names and digests. Raises: Refusal, OSError."""
    wheels = {str(name): str(digest) for name, digest in request["wheels"].items()}
    if not 0 < len(wheels) <= WHEELS or not all(DIGEST.fullmatch(digest) for digest in wheels.values()):
        raise refused("no wheels with their digests: %r" % wheels)
    paths = {name: part_path(root / "parts", digest) for name, digest in wheels.items()}
    for name, path in paths.items():
        if not path.is_file() or file_digest(path) != wheels[name]:
            raise refused("the wheel %s has not come as it was sent; ask again" % name)
    for name, path in paths.items():
        unpack(name, path, folder)
    for path in paths.values():
        path.unlink()  # unpacked, they only take room
    return {"how": "carried"}


def by_pkg(root: Path, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Let Termux's pkg install packages, of which those that were not there go with --remove. Raises: Refusal, OSError."""
    names = list(map(str, request["requirements"]))
    if not names or not all(REQUIREMENT.fullmatch(one) for one in names):
        raise refused("no packages that pkg can be asked for: %r" % names)
    lacking = [name for name in names if run(["dpkg", "-s", name], folder, PIP_S)[0]]
    status, said = run(["pkg", "install", "-y", *names], folder, float(request["limit_s"]))
    if status:
        raise refused("pkg ended with status %d: %s" % (status, said))
    kept = [name for name in read_note(root).get("pkg", []) if name not in lacking]
    return {"how": "pkg", "pkg": sorted({*kept, *lacking}), "packages": {name: "" for name in names}}


def run(command: list[str], folder: Path, limit_s: float) -> tuple[int, str]:
    """Run a command in a folder, its temporary files there, too; return its status and the end of what it printed.

    It is ended, with all that it started, after `limit_s` or once nobody reads standard output any more.
    Raises: Refusal, BrokenPipeError, OSError.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # no file: the disk may be full, which is what is to be told
        stderr=subprocess.STDOUT,
        cwd=str(folder),
        env=dict(plain_environment(), TMPDIR=str(folder), PIP_REQUIRE_VIRTUALENV="0"),
        start_new_session=True,
    )
    assert process.stdout is not None
    deadline_s, said = time.monotonic() + limit_s, b""
    try:
        while True:
            if time.monotonic() > deadline_s:
                raise refused("%s took more than %.0f s" % (command[0], limit_s))
            sys.stdout.write("\n")
            sys.stdout.flush()
            if select.select([process.stdout], [], [], BEAT_S)[0]:
                data = os.read(process.stdout.fileno(), TOLD_CHARACTERS)
                if not data:
                    break
                said = (said + data)[-TOLD_CHARACTERS:]
            elif process.poll() is not None:
                break  # what it has started holds the pipe
        status = process.wait(max(0.0, deadline_s - time.monotonic()) + BEAT_S)
    except subprocess.TimeoutExpired:
        raise refused("%s took more than %.0f s" % (command[0], limit_s)) from None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        process.stdout.close()
    return status, said.decode("utf-8", "replace").strip()


def plain_environment() -> dict[str, str]:
    """Return this process's variables without those that change which modules Python finds."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def unpack(name: str, wheel: Path, folder: Path) -> None:
    """Unpack a wheel's modules into a folder, and nothing outside it. Raises: Refusal, OSError."""
    try:
        with zipfile.ZipFile(str(wheel)) as archive:
            places = {info.filename: place_of(name, info) for info in archive.infolist()}
            if len(places) != len(archive.infolist()):
                raise refused("the wheel %s names a file twice" % name)
            size_bytes = sum(info.file_size for info in archive.infolist())
            if size_bytes > min(UNPACKED_BYTES, free_bytes(folder)):
                raise refused(
                    "no space left for the wheel %s: it unpacks to %d bytes, %d are free"
                    % (name, size_bytes, free_bytes(folder))
                )
            for info in archive.infolist():
                place = places[info.filename]
                if place is not None:
                    path = folder / place
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    with archive.open(info) as source, path.open("wb") as target:
                        shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
        raise refused("the wheel %s cannot be unpacked: %s" % (name, error)) from error


def place_of(name: str, info: zipfile.ZipInfo) -> str | None:
    """Return where a wheel's file goes, None for a folder, a program or data. Raises: Refusal for what leads elsewhere."""
    parts = info.filename.rstrip("/").split("/")
    mode = info.external_attr >> 16
    is_plain = not mode or stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR)
    if not is_plain or any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise refused(
            "the wheel %s holds %r, which leads outside its folder or is no plain file"
            % (name, info.filename)
        )
    if info.is_dir():
        return None
    if parts[0].endswith(".data"):
        return "/".join(parts[2:]) if parts[1:2] in (["purelib"], ["platlib"]) and parts[2:] else None
    return "/".join(parts)


def installed_packages(folder: Path) -> dict[str, str]:
    """Return the versions of the packages in a folder, by name. Raises: Refusal when there are none."""
    found = {}
    for path in sorted(folder.glob("*.dist-info/METADATA")):
        fields = dict(
            line.split(": ", 1)
            for line in path.read_text("utf-8", "replace").splitlines()[:50]
            if ": " in line
        )
        found[fields.get("Name", path.parent.name)[:200]] = fields.get("Version", "")[:200]
    if not found:
        raise refused("nothing was installed")
    return found
