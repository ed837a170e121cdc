"""What LiteRT computes of model files, in a process of its own, whose GPU is the one that its environment names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import rigs
from device_agents.runtimes import litert
from device_agents.runtimes.loaded import Output, plain


class LiteRtProcess:
    """A process that computes models on CPU and GPU as it is asked to, as a worker does: a GPU compiles a shader once."""

    def __init__(self, process: subprocess.Popen[str], stderr: IO[str]) -> None:
        self._process, self._stderr = process, stderr

    def outputs(self, provider: str, models: Sequence[Path]) -> list[dict[str, Any]]:
        """Return of each model all values of its first `output` on the fixed input, and the `shares` of its operators."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([provider, *map(str, models)]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("["):  # the others are what libraries print
                return [dict(one) for one in json.loads(line)]
        self._stderr.seek(0)
        raise AssertionError(self._stderr.read())


@contextmanager
def litert_process(environment: Mapping[str, str]) -> Iterator[LiteRtProcess]:
    """Start a process, and end it on leaving."""
    command = [sys.executable, "-m", "rigs.litert_outputs"]
    with (
        tempfile.TemporaryFile("w+") as stderr,
        subprocess.Popen(
            command,
            env=rigs.with_tests(**environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        yield LiteRtProcess(process, stderr)


def own_values(outputs: Sequence[Output], batch: int = 1) -> list[float]:
    """Return the values of the first output themselves, where sessions tell sums of them."""
    values = plain(outputs[0].values())
    scale, zero_point = outputs[0].scale, outputs[0].zero_point
    return [(value - zero_point) * scale for value in values] if scale else list(values)


def main() -> None:
    """Print the outputs of the models of each line read."""
    litert.judged_values = own_values
    for line in sys.stdin:
        provider, *models = json.loads(line)
        told = []
        for model in models:
            one = litert.load(Path(model).read_bytes(), 1, {"provider": provider})
            one.run()
            told.append({"output": one.output(), "shares": one.shares})
        sys.stdout.write("\n" + json.dumps(told) + "\n")
        sys.stdout.flush()
    os._exit(0)  # as a worker: taking a GPU's library down can crash


if __name__ == "__main__":
    main()
