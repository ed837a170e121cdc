"""Messages that LiteRT's accelerators print, and give nowhere else: how a model is split, and that the GPU failed.

A GPU by WebGPU that lacks memory, or refuses a command, drops the commands that need it: LiteRT's functions then return that all
went well, and the outputs are zeros or those of the run before. Its library prints the error that it was told.
"""

from __future__ import annotations

import os
import re
import select
from functools import lru_cache
from threading import Lock, Thread

from device_agents.refusal import Refusal
from device_agents.runtimes.litert_api import LiteRtError

SPLIT = re.compile(
    r"(\d+) operations will run on the GPU, and the remaining (\d+) operations will run on the CPU"
)
# An error that Dawn, which is WebGPU here, tells by its kind (wgpu::ErrorType, a lost device among the unknown).
FAULT = re.compile(
    r"^E.*\] ((?:Out of memory|Validation error|Internal error|Unknown reason): .*)\n", re.MULTILINE
)
NO_MEMORY = re.compile(r"Out of memory|OUT_OF_\w+_MEMORY")
LOST = "DEVICE_LOST"


def shares_told(provider: str, printed: str) -> dict[str, float]:
    """Return the share of operators that an accelerator and the CPU run. Raises: Refusal where LiteRT did not tell."""
    told = SPLIT.search(printed)
    if told is None:
        message = "%s runs a part of this network's operators, and LiteRT does not tell which; take a provider that runs all"
        raise Refusal("worker-error", message % provider)
    there, here = int(told[1]), int(told[2])
    return {provider: there / (there + here), "CPU": here / (there + here)}


class PrintedText:
    """Text that this process writes to standard error from now on, in any language; passed on as it comes.

    `fault`: the first error that a GPU told of, empty without one; at most some milliseconds late, but after `read`.
    """

    def __init__(self) -> None:
        self.fault = ""
        self._text, self._searched = "", 0
        self._is_over = False  # something put another file in the place of standard error
        self._source, sink = os.pipe()
        self._stderr = os.dup(2)
        os.dup2(sink, 2)
        os.close(sink)
        self._lock = Lock()
        Thread(target=self._pass_on, daemon=True).start()

    def read(self) -> str:
        """Return all that was written so far."""
        with self._lock:
            while not self._is_over and select.select([self._source], [], [], 0)[0]:
                data = os.read(self._source, 1 << 16)
                self._is_over = not data
                os.write(self._stderr, data)
                self._text += data.decode("utf-8", "replace")
            found = FAULT.search(self._text, self._searched)
            self.fault = self.fault or (found[1] if found else "")
            self._searched = self._text.rfind("\n") + 1
            return self._text

    def check(self, provider: str, cause: Exception | None = None) -> None:
        """Raise what a GPU told of: Refusal where it lacks memory, else GpuError; from then on nothing it computes counts.

        What cannot be read any more may have told of an error: a GpuError, too.
        """
        self.read()
        if not self.fault and self._is_over:
            raise GpuError(
                "what the %s prints of its errors is not seen: standard error was replaced" % provider
            ) from cause
        if not self.fault:
            return
        if NO_MEMORY.search(self.fault):
            message = "the %s has not the memory for this network: %s"
            raise Refusal("out-of-memory", message % (provider, self.fault)) from cause
        what = "was lost" if LOST in self.fault else "failed, and what it computes does not count"
        raise GpuError("the %s %s: %s" % (provider, what, self.fault)) from cause

    def _pass_on(self) -> None:
        while not self._is_over:
            select.select([self._source], [], [])
            self.read()


class GpuError(LiteRtError):
    """A GPU was lost, or refused what LiteRT asked of it."""

    def __init__(self, message: str) -> None:
        RuntimeError.__init__(self, message)
        self.status = 0


@lru_cache(maxsize=None)
def printed_text() -> PrintedText:
    """Return the text that this process prints from the first call on."""
    return PrintedText()
