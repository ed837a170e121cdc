"""LiteRT's library in a folder with libraries in the place of NPU vendors', compiled where a C compiler is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from device_agents.runtimes import litert_library


def litert_folder(folder: Path, *names: str, needs: str = "") -> Path:
    """Return the path of LiteRT's library, beside which libraries of these names lie; skip without a C compiler.

    needs: the name of a library that each of them needs and that is nowhere.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make libraries in the place of an NPU's: apt install gcc")
    folder.mkdir(exist_ok=True)
    flags = []
    if needs:
        subprocess.run([compiler, "-shared", "-x", "c", "/dev/null", "-o", needs], cwd=folder, check=True)
        flags = ["-Wl,--no-as-needed", f"-L{folder}", f"-l:{needs}"]
    made = folder / "made.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", str(made), str(source), *flags], check=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made, path)
    made.unlink()
    (folder / needs).unlink() if needs else None
    library = folder / "libLiteRt.so"
    library.symlink_to(litert_library.locate({})[2])
    return library
