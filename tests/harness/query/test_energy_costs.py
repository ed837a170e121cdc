"""Energy as a limit and as an objective of a search: measured networks alone, what is doubtful left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.records import make_energy_run
from factories.stores import MANY, networks, stored
from harness.query.energy_costs import energy_cost
from rigs.commands import refused, run

from harness.query.latencies import LatencySource
from harness.store import Store
from space.errors import ConfigError

SEARCH = ("search", "-a", "synthetic", "-t", "2")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store in which four networks take 40, 50, 60 and 70 mJ, the last while other cores were busy."""
    path = tmp_path_factory.mktemp("energy") / "store.sqlite"
    path.write_bytes(stored())
    with Store(str(path)) as store:
        for number, one in enumerate(networks(4)):
            taken = make_energy_run(network_w=8.0 + 2 * number, configuration=MANY)
            if number == 3:
                busy = tuple(replace(block, others_busy=0.9) for block in taken.blocks)
                taken = replace(taken, blocks=busy)
            store.add_block_run(replace(taken, architecture=str(one), graph_hash=one.graph_hash))
    return path


def test_networks_that_were_measured_have_an_energy_with_an_interval_and_others_none(path: Path) -> None:
    with Store(str(path)) as store:
        cost, provenance = energy_cost(store, "made-up:energy", MANY, LatencySource())
        indices = [one.index for one in networks(4)]
        assert cost.values[indices[:3]] == pytest.approx([40.0, 50.0, 60.0], rel=0.01)
        assert np.isnan(cost.values[indices[3]]) and (~np.isnan(cost.values)).sum() == 3
        assert cost.low is not None and cost.high is not None and cost.measured is not None
        assert (cost.low[indices[:3]] <= cost.values[indices[:3]]).all() and cost.unit == "mJ"
        assert (provenance.measured, provenance.predicted, int(cost.measured.sum())) == (3, 0, 3)
        taken, _ = energy_cost(store, "made-up:energy", MANY, LatencySource(doubtful=True))
        assert taken.values[indices[3]] == pytest.approx(70.0, rel=0.01)


def test_energy_is_a_limit_and_an_objective(path: Path) -> None:
    done = run(path, *SEARCH, "-c", "made-up:energy<55mJ", "--pareto", "made-up:energy", "--json")
    assert done.status == 0, done.stderr
    document = done.json
    found = [one["made-up:energy_mJ"] for one in document["networks"]]
    assert sorted(found) == pytest.approx([40.0, 50.0], rel=0.01)
    assert len(document["front"]["networks"]) in (1, 2)
    text = run(path, *SEARCH, "-c", "made-up:energy<0.055J")
    assert "mJ" in text.stdout
    assert any(
        "no energy, measured or predicted" in note and "--energy" in note for note in document["notes"]
    )


def test_what_is_not_measured_is_refused_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(stored())
    path = tmp_path / "store.sqlite"
    words = ("no energy is measured on device 'made-up'", "--energy --models design:1")
    refused(run(path, *SEARCH, "-c", "made-up:energy<50mJ"), *words)
    refused(run(path, *SEARCH, "-c", "made-up:energy<50ms"), "'ms' does not fit", "units: uJ, mJ, J")


def test_energy_of_busy_devices_alone_says_so(path: Path, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(stored())
    with Store(str(tmp_path / "store.sqlite")) as store, Store(str(path)) as other:
        (busy,) = (one for one in other.block_runs(MANY, "energy") if one.blocks[0].others_busy == 0.9)
        store.add_block_run(busy)
        with pytest.raises(ConfigError, match="1 measured while other cores were busy: --doubtful"):
            energy_cost(store, "made-up:energy", MANY, LatencySource())
