"""The wheel that `python -m build` makes: whole, and enough for a user who has no copy of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from import_graph import ROOMS

from device_agents.archive import build_archive
from harness.version import __version__

ROOT = Path(__file__).parents[1]
NO_BYTECODE = shutil.ignore_patterns("__pycache__")
TABLE = "network,top1\nconv/conv/conv,61.5\nbconv/bconv/bconv,70.25\nmbconv/mbconv/mbconv,66\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy of the sources by the setuptools that is installed: nothing is fetched."""
    pytest.importorskip("build", reason="build is absent: pip install 'harness[dev]'")
    source = tmp_path_factory.mktemp("source")
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=NO_BYTECODE)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "made", "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (source / "made").iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an empty environment into which the wheel is installed.

    What harness depends on is read from the folder of the tests' own environment, of which nothing else is used: a `.pth` file
    there, as an editable harness has, is heeded by nobody.
    """
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    install = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", "--no-compile", str(wheel)], check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def run(program: Path, *arguments: str) -> str:
    """Run a program of the environment in a folder of its own, away from the repository; return what it prints."""
    folder = program.parents[1] / "home"
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
    done = subprocess.run(
        [program, *arguments],
        cwd=folder,
        env={
            **kept,
            "HOME": str(folder),
            "HARNESS_CACHE": str(folder),
            "HARNESS_STORE": str(folder / "store"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    own = f"harness-{__version__}.dist-info/"
    files = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(own)} == files


CODE = """
import json, harness
from device_agents.archive import build_archive
with harness.open_store("lab.sqlite"):
    print(json.dumps([harness.__file__, build_archive()[1]]))
"""


@pytest.mark.slow
def test_what_is_installed_writes_a_page_opens_a_store_and_has_the_agent_of_the_sources(
    installed: Path,
) -> None:
    home = installed.parent / "home"
    home.mkdir()
    (home / "table.csv").write_text(TABLE)
    run(installed / "harness", "report", "--accuracies", "table.csv", "-c", "params<100M", "-o", "page.html")
    assert "</html>" in (home / "page.html").read_text()
    file, digest = json.loads(run(installed / "python", "-c", CODE))
    assert Path(file).is_relative_to(installed.parent)
    assert digest == build_archive()[1]
    assert (home / "lab.sqlite").stat().st_size > 0
