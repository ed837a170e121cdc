"""Other Pythons of this machine, and a stand-in for a runtime, for this one's packages are not for another Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

STAND_IN = """
import time
from types import SimpleNamespace
class Values(list):
    dtype = SimpleNamespace(kind="f")
    shape = property(lambda self: (1, len(self)))
    def reshape(self, size):
        return self
class Interpreter:
    resize_tensor_input = set_tensor = None  # it has no inputs
    def __init__(self, model_content, num_threads):
        assert model_content == b"part"
    def allocate_tensors(self):
        pass
    def get_input_details(self):
        return []
    def get_output_details(self):
        return [{"name": "y", "index": 0, "quantization": (0.0, 0)}]
    def get_tensor(self, index):
        return Values([0.5] * 10)
    def invoke(self):
        time.sleep(0.001)
"""


def find_interpreters() -> list[str]:
    """Return other Pythons of this machine, from 3.8 on."""
    found = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [str(path) for path in pyenv.glob("versions/3.*/bin/python")]
    candidates += [shutil.which(f"python3.{minor}") or "" for minor in range(8, 15)]
    for path in candidates:
        done = (
            subprocess.run([path, "--version"], capture_output=True, text=True, check=False) if path else None
        )
        version = re.match(r"Python 3\.(\d+)", done.stdout) if done else None
        if version and int(version[1]) >= 8 and int(version[1]) != sys.version_info.minor:
            found.setdefault(int(version[1]), path)
    return [found[minor] for minor in sorted(found)]


def stand_in(packages: Path) -> Path:
    """Write a runtime `tflite` that runs the model `part` in a millisecond, and return the folder for $PYTHONPATH."""
    (packages / "ai_edge_litert").mkdir(parents=True)
    (packages / "ai_edge_litert/__init__.py").write_text('__version__ = "0"\n')
    (packages / "ai_edge_litert/interpreter.py").write_text(STAND_IN)
    return packages
