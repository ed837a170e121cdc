"""Out-of-memory errors: recognize torch's, and find a batch that fits.

The memory of a step depends on the layers, on torch's algorithms and on the rest of the memory's use, so it is not computed:
steps of half as many images are tried until one passes. Two causes end the process unseen: the system's out-of-memory killer; and
oneDNN, which crashes where it gets no memory for the code of a kernel that it compiles (torch 2.13, near a limit on a process's
address space).
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from space.errors import HarnessError

T = TypeVar("T")

LEAST = 2  # images: BatchNorm may refuse one alone
_WORDS = (
    *("can't allocate memory", "not enough memory", "bad_alloc", "out of memory"),
    *("could not create a primitive", "could not create a memory"),  # oneDNN's words for it
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is out of memory: on an accelerator, or on the CPU, where torch has no class for it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def within_memory(work: Callable[[], T], step: Callable[[int], object], batch: int, what: str) -> T:
    """Return the work's result; where memory runs out, raise an error with the batch that would fit.

    `batch` is the number of images that the work takes at once, and `step(images)` does a part of it with that number; it is
    called only after a failure and may change the network. `what` names the work in the message.

    Raises:
        HarnessError: memory ran out; the message names the batch and one that fits, or says that none does.
    """
    try:
        return work()
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        found = str(e).partition("\n")[0].strip() or type(e).__name__
    # Here the error is gone, and with it the frames that held the failed step's tensors.
    fitting = batch // 2
    while fitting >= LEAST and not _passes(step, fitting):
        fitting //= 2
    remedy = (
        f"a batch of {fitting} fits, as a trial shows: give the recipe batch {fitting}, which is another recipe with other "
        "results, or use a device with more memory"
        if fitting >= LEAST
        else f"not even a batch of {LEAST} fits: free memory, or use a device with more of it"
    )
    raise HarnessError(f"{what}: out of memory with a batch of {batch} images ({found}); {remedy}")


def _passes(step: Callable[[int], object], images: int) -> bool:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        step(images)
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        return False
    return True
