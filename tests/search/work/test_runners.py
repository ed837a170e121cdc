"""Which runner fits where units are to be computed."""

from __future__ import annotations

import pytest

from search.work.local_pool import LocalPool
from search.work.runners import make_runner
from space.errors import ConfigError


def test_units_are_computed_here_unless_a_cluster_is_named() -> None:
    assert make_runner(jobs=2, threads=3, device="cuda") == LocalPool(
        processes=2, threads_each=3, device="cuda"
    )
    with pytest.raises(ConfigError, match="no address"):
        make_runner(ray="no address")
