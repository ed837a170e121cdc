"""Workers of a local pool that a process forks which has imported what they need: each is there at once, not after seconds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def forked_workers() -> Iterator[None]:
    """Fork workers while this lasts; users' are spawned. In all else they are alike: what they run is pickled and imported."""
    context = multiprocessing.get_context("forkserver")
    # Any optimizer imports torch._dynamo, which takes as long as torch.
    context.set_forkserver_preload(["torch._dynamo", "search.work.local_pool", "search.work.trainings"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.work.processes.multiprocessing.get_context", lambda method: context)
        yield
