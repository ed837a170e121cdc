"""Outputs that a model file should give: its own run by its runtime on this machine's processor, in a process with limits.

It runs as plainly as the runtime lets it: ONNX Runtime without its graph optimizations, TFLite without a delegate, one thread. So
it judges the device, the agent, and what the optimizer or a delegate makes of the model. Values are kept as those of networks
are (`exporters.expected`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.cache import cache_key
from exporters.conversion import RUNNERS, installed_version
from exporters.errors import ConversionError
from exporters.expected import IMAGE_GROUPS, append_values, read_values
from exporters.formats import Format
from exporters.processes import ProcessEnded, answer_apart
from space.text import printable

TIME_LIMIT_S = 180.0
# Of this machine's free memory, what a run may take at most; a runtime holds a model's weights up to three times while it loads.
MEMORY_SHARE = 0.5
COPIES = 3
RUN_VERSION = 3  # raise it whenever the same file gives other values


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRun:
    """A run of a model file: the file behind `descriptor`, the shapes and values (an .npz file's bytes) given of its inputs.

    `signature`: the one of a TFLite file that is run, empty for its first graph. `batch`: images that these shapes are of.
    """

    format: Format
    descriptor: int
    size_bytes: int
    digest: str
    shapes: Mapping[str, tuple[int, ...]]
    values: bytes | None
    signature: str = ""
    batch: int = 1

    @property
    def runtime(self) -> str:
        """The distribution that runs the file."""
        return RUNNERS[self.format][-1]

    def request(self, values_fd: int) -> dict[str, Any]:
        """Return the request to `exporters.own_run_worker`; given values are in another file."""
        return {
            "format": self.format,
            "model": self.descriptor,
            "values": None if self.values is None else values_fd,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "signature": self.signature,
            "batch": self.batch,
        }


def own_outputs(run: OwnRun, cache_dir: Path) -> tuple[float, ...]:
    """Return the sums that judge a file's outputs; computed once, then kept below `cache_dir`.

    Raises: ConversionError, with the reason, where this machine cannot tell: the runtime is absent or refuses the file, memory or
    time do not suffice, or the values are none to judge by.
    """
    version = installed_version(run.runtime)
    if version is None:
        raise ConversionError(f"{run.runtime} is not installed here; pip install {run.runtime}")
    facts = {
        "run": RUN_VERSION,
        "runtime": [run.runtime, version],
        "digest": run.digest,
        "shapes": {name: list(shape) for name, shape in run.shapes.items()},
        "values": None if run.values is None else hashlib.sha256(run.values).hexdigest(),
        "signature": run.signature,
    }
    if run.batch > 1:
        facts["images"] = [run.batch, IMAGE_GROUPS]
    path, name = cache_dir / "expected" / "files.jsonl", cache_key(facts)
    kept = read_values(path).get(name)
    if kept is None:
        kept = {"sums": _computed(run)}
        append_values(path, name, kept)
    return tuple(kept["sums"])


def _computed(run: OwnRun) -> list[float]:
    limit_bytes = int(free_bytes() * MEMORY_SHARE)
    if run.size_bytes * COPIES > limit_bytes:
        raise ConversionError(
            f"this machine would have to run it for that, with {run.size_bytes * COPIES / 1e9:.1f} GB of memory, and has "
            f"{limit_bytes / 1e9:.1f} GB to spare; give --expect FILE.npz"
        )
    answer = run_apart(run, limit_bytes)
    if "error" in answer:
        raise ConversionError(printable(str(answer["error"])))
    return [float(value) for value in answer["sums"]]


def run_apart(run: OwnRun, limit_bytes: int) -> dict[str, Any]:
    """Return the answer of `exporters.own_run_worker`, a process of its own. Raises: ConversionError when it dies or is late."""
    with tempfile.TemporaryFile() as values:
        values.write(run.values or b"")
        values.flush()
        try:
            return answer_apart(
                "exporters.own_run_worker",
                run.request(values.fileno()),
                (run.descriptor, values.fileno()),
                limit_bytes=limit_bytes,
                limit_s=TIME_LIMIT_S,
            )
        except TimeoutError:
            raise ConversionError(
                f"its own run took more than {TIME_LIMIT_S:.0f} s here; give --expect FILE.npz"
            ) from None
        except ProcessEnded as ended:
            raise ConversionError(f"its own run here died: {printable(str(ended))}") from None


def free_bytes() -> int:
    """Return the memory that a process may take here without making others swap; all of it where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
