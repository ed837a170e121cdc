"""Which runner fits where units are to be computed."""

from __future__ import annotations

import pytest

from harness.commands.workers import Workers
from search.work.local_pool import LocalPool
from space.errors import ConfigError


def test_units_are_computed_here_unless_a_cluster_is_named() -> None:
    pool = LocalPool(processes=2, threads_each=3, device="cuda")
    assert Workers(jobs=2, threads=3, accelerator="cuda").runner() == pool
    with pytest.raises(ConfigError, match="no address"):
        Workers(ray="no address").runner()
