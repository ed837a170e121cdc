"""What LiteRT computes of model files, in a process of its own, whose GPU is the one that its environment names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rigs
from device_agents.runtimes import litert


def litert_outputs(
    provider: str, models: Sequence[Path], environment: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return of each model the first values of its `output` on the fixed input, and the `shares` of its operators."""
    command = [sys.executable, "-m", "rigs.litert_outputs", provider, *map(str, models)]
    done = subprocess.run(
        command, env=rigs.with_tests() | dict(environment or {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [dict(one) for one in json.loads(done.stdout.splitlines()[-1])]


def main(provider: str, *models: str) -> None:
    """Print the outputs of models."""
    told = []
    for model in models:
        one = litert.load(Path(model).read_bytes(), 1, {"provider": provider})
        one.run()
        told.append({"output": one.output(), "shares": one.shares})
    sys.stdout.write("\n" + json.dumps(told))  # behind what libraries print
    sys.stdout.flush()
    os._exit(0)  # as a worker: taking a GPU's library down can crash


if __name__ == "__main__":
    main(*sys.argv[1:])
