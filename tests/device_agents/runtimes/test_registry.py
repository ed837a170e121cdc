"""Which modules of runtimes are imported, and when."""

from __future__ import annotations

import gc
import subprocess
import sys
from types import SimpleNamespace

import pytest

from device_agents.runtimes import RUNTIMES, start


def test_a_worker_imports_the_module_of_its_own_runtime_alone(agent) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from device_agents import runtimes, worker\n"
    code += "runtimes.RUNTIMES['tflite']; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(agent)], capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert "device_agents.runtimes.tflite" in modules and "device_agents.runtimes.litert" not in modules
    assert "tempfile" not in modules, "what the agent alone uses takes a worker time"


@pytest.mark.parametrize("is_collecting", [True, False])
def test_no_garbage_is_looked_for_while_a_runtime_is_imported(
    monkeypatch: pytest.MonkeyPatch, is_collecting: bool
) -> None:
    def find() -> bool:
        return gc.isenabled()

    monkeypatch.setitem(RUNTIMES, "made-up", SimpleNamespace(find=find))
    if not is_collecting:
        gc.disable()
    try:
        assert start("made-up") is False and gc.isenabled() is is_collecting
    finally:
        gc.enable()
