"""Tiny wheels, made on the spot: what pip installs, and a stand-in for TFLite that answers the trial's model."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from rigs.other_pythons import STAND_IN

PIP = """# pip as far as provisioning asks for it: it unpacks or copies the wheels of $PIP_FIND_LINKS, if they are there.
import os, re, shutil, sys, zipfile
from pathlib import Path
if sys.argv[1] == "--version":
    sys.exit(print("pip 24.0 from a test"))
place = "--dest" if sys.argv[1] == "download" else "--target"
folder = Path(sys.argv[sys.argv.index(place) + 1])
wheels = list(Path(os.environ.get("PIP_FIND_LINKS", os.devnull)).glob("*.whl"))
for name in sys.argv[sys.argv.index("--") + 1:]:
    asked = re.match("[a-z-]+", name)[0].replace("-", "_")
    if not any(wheel.name.startswith(asked) for wheel in wheels):
        sys.exit("ERROR: No matching distribution found for " + name)
for wheel in wheels:
    shutil.copy(wheel, folder) if place == "--dest" else zipfile.ZipFile(wheel).extractall(folder)
"""


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    modules: Mapping[str, str],
    *,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """Write a wheel with some modules, text by path, into a folder; return its path."""
    bare = name.replace("-", "_")
    info = f"{bare}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    contents = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in (*contents, f"{info}/RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{bare}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in {**contents, f"{info}/RECORD": record}.items():
            archive.writestr(place, text)
    return path


def runtime_wheels(folder: Path, *, version: str = "2.3.0", output: str = "") -> Path:
    """Write the wheel of a runtime `tflite`, and of a package that it needs, into a folder; return the folder.

    output: what the runtime computes, a list as Python writes it; empty: what is right of the trial's model.
    """
    right = json.loads(files("harness.devices").joinpath("trial_models", "expected.json").read_text("utf-8"))
    interpreter = STAND_IN.replace("[0.5] * 10", output or repr(right["tflite"]))
    interpreter = interpreter.replace('assert model_content == b"part"', "import made_up_need")
    modules = {
        "ai_edge_litert/__init__.py": f'__version__ = "{version}"\n',
        "ai_edge_litert/interpreter.py": interpreter,
    }
    make_wheel(folder, "ai-edge-litert", version, modules, requires=("made-up-need",))
    make_wheel(folder, "made-up-need", "1.0", {"made_up_need.py": ""})
    return folder
