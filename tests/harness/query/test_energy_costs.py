"""Energy as a limit and as an objective of a search: measured networks alone, what is doubtful left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.records import make_energy_run
from factories.stores import MANY, networks, new_store, stored
from rigs.commands import refused, run

import harness
from harness.estimates.energy import NoEnergy, energy_of, newest_energy
from harness.prediction.fresh_costs import measured_costs
from harness.query.costs import fresh_cost
from harness.query.latencies import LatencySource
from harness.records import Configuration, FreshRun
from harness.store import Store
from search.latency.candidates import FEWEST
from space import TINY, Architecture
from space.costs import all_macs
from space.errors import ConfigError

IN_TINY = replace(MANY, space=TINY.name)
SEARCH = ("search", "-a", "synthetic", "-t", "2", "--space", TINY.name)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store in which four networks take 40, 50, 60 and 70 mJ, the last while other cores were busy."""
    path = tmp_path_factory.mktemp("energy") / "store.sqlite"
    path.write_bytes(stored(20, config=TINY))
    with Store(str(path)) as store:
        for number, one in enumerate(networks(4, TINY)):
            taken = make_energy_run(network_w=8.0 + 2 * number, configuration=IN_TINY)
            if number == 3:
                busy = tuple(replace(block, others_busy=0.9) for block in taken.blocks)
                taken = replace(taken, blocks=busy)
            store.add_block_run(
                replace(
                    taken, architecture=str(one), graph_hash=one.graph_hash, model_digest=2 * one.graph_hash
                )
            )
    return path


def test_networks_that_were_measured_have_an_energy_with_an_interval_and_others_none(path: Path) -> None:
    with Store(str(path)) as store:
        cost, provenance = fresh_cost(store, "made-up:energy", IN_TINY, LatencySource())
        indices = [one.index for one in networks(4, TINY)]
        assert cost.values[indices[:3]] == pytest.approx([40.0, 50.0, 60.0], rel=0.01)
        assert np.isnan(cost.values[indices[3]]) and (~np.isnan(cost.values)).sum() == 3
        assert cost.low is not None and cost.high is not None and cost.measured is not None
        assert (cost.low[indices[:3]] <= cost.values[indices[:3]]).all() and cost.unit == "mJ"
        assert (provenance.measured, provenance.predicted, int(cost.measured.sum())) == (3, 0, 3)
        taken, _ = fresh_cost(store, "made-up:energy", IN_TINY, LatencySource(doubtful=True))
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


def true_mj(one: Architecture) -> float:
    return 10 + 2e-6 * float(all_macs(TINY)[one.index])


def weigh(store: Store, count: int, scatter: float, seed: int = 3) -> None:
    """Store made-up energies of networks of TINY; the powers of blocks scatter."""
    rng = np.random.default_rng(seed)
    for one in TINY.sample(count, seed=1):
        powers = np.exp(rng.normal(0, scatter, 60))
        taken = make_energy_run(network_w=true_mj(one) / 5, configuration=IN_TINY, scatter=powers)
        store.add_block_run(
            replace(taken, architecture=str(one), graph_hash=one.graph_hash, model_digest=2 * one.graph_hash)
        )


def test_energy_of_other_networks_is_predicted_with_an_interval_that_holds_it(tmp_path: Path) -> None:
    with new_store(tmp_path / "store.sqlite") as store:
        weigh(store, 16, 0.01)
        cost, provenance = fresh_cost(store, "made-up:energy", IN_TINY, LatencySource(coverage=0.9))
        alone, _ = fresh_cost(store, "made-up:energy", IN_TINY, LatencySource(measured_only=True))
    truth = np.array([true_mj(Architecture.from_index(index, TINY)) for index in range(len(TINY))])
    others = ~cost.measured & cost.supported  # type: ignore[operator]
    assert (provenance.measured, provenance.predicted) == (16, len(TINY) - 16)
    assert others.sum() > 20 and np.abs(cost.values[others] / truth[others] - 1).max() < 0.03
    assert ((cost.low <= truth) & (truth <= cost.high))[others].mean() >= 0.8  # type: ignore[operator]
    assert np.isnan(alone.values[others]).all()


@pytest.mark.parametrize(("count", "scatter"), [(FEWEST, 0.3), (FEWEST - 1, 0.01)])
def test_energy_is_not_predicted_of_a_sensor_that_tells_too_little_or_of_few_networks(
    tmp_path: Path, count: int, scatter: float
) -> None:
    with new_store(tmp_path / "store.sqlite") as store:
        weigh(store, count, scatter)
        cost, provenance = fresh_cost(store, "made-up:energy", IN_TINY, LatencySource())
    assert (provenance.measured, provenance.predicted) == (count, 0)
    assert np.array_equal(~np.isnan(cost.values), cost.measured)


def measure_otherwise(store: Store, networks: Sequence[Architecture], started_utc: str) -> None:
    """Store energies by a battery that tells three times as much."""
    for one in networks:
        taken = make_energy_run(network_w=3 * true_mj(one) / 5, configuration=IN_TINY, kind="battery")
        run = replace(
            taken,
            architecture=str(one),
            graph_hash=one.graph_hash,
            model_digest=2 * one.graph_hash,
            started_utc=started_utc,
        )
        store.add_block_run(run)


def test_energies_of_another_sensor_are_left_out_and_named(tmp_path: Path) -> None:
    told: list[str] = []
    with new_store(tmp_path / "store.sqlite") as store:
        weigh(store, 6, 0.01)
        both = TINY.sample(6, seed=1)[:2]
        other = [one for one in TINY.sample(40, seed=9) if one not in TINY.sample(6, seed=1)][:2]
        measure_otherwise(store, [*both, *other], "2020-01-01T00:00:00.000+00:00")
        measured = measured_costs(store, IN_TINY, "energy", TINY, coverage=0.9)
        wide, narrow = (
            measured_costs(store, IN_TINY, "energy", TINY, coverage=coverage) for coverage in (0.95, 0.5)
        )
        source = LatencySource(measured_only=True)
        cost, _ = fresh_cost(store, "made-up:energy", IN_TINY, source, told.append)
        measure_otherwise(store, both, "2099-01-01T00:00:00.000+00:00")
        newest, _ = fresh_cost(store, "made-up:energy", IN_TINY, source, told.append)
    assert measured is not None and wide is not None and narrow is not None
    reaches = (narrow.high - narrow.values) / (wide.high - wide.values)
    assert reaches == pytest.approx(0.7407 / 2.7764, abs=1e-3), "Student's t of 5 turns, 50 % and 95 %"
    assert (len(measured.indices), int(measured.fitted.sum()), measured.sensor) == (6, 6, "rapl")
    assert np.isnan(cost.values[[one.index for one in other]]).all() and "by rapl" in cost.title
    assert cost.values[[one.index for one in both]] == pytest.approx([true_mj(one) for one in both], rel=0.03)
    assert (
        "energy by rapl (all of it); left out, for another sensor's does not compare: 2 networks by battery (all of it); "
        "--energy --fresh measures anew"
    ) in told
    assert newest.measured is not None and int(newest.measured.sum()) == 4 and "by battery" in newest.title
    assert any("4 networks by rapl" in one for one in told)


def test_a_prediction_names_the_sensor_of_its_energies_and_what_it_leaves_out(
    path: Path, tmp_path: Path
) -> None:
    copy, told = tmp_path / "store.sqlite", list[str]()
    copy.write_bytes(path.read_bytes())
    with Store(str(copy)) as store:
        taken = make_energy_run(network_w=90.0, configuration=IN_TINY, kind="battery")
        one = networks(5, TINY)[4]
        old = "2020-01-01T00:00:00.000+00:00"
        store.add_block_run(
            replace(
                taken,
                architecture=str(one),
                graph_hash=one.graph_hash,
                model_digest=2 * one.graph_hash,
                started_utc=old,
            )
        )
        table = harness.predict(store, device="made-up", threads=IN_TINY.threads, log=told.append)
    first, other = (table.at(networks(5, TINY)[place]) for place in (0, 4))
    assert (first.energy_sensor, first.energy_mj) == ("rapl", pytest.approx(40.0, rel=0.01))
    assert (other.energy_sensor, other.energy_mj) == (None, None)
    assert any("1 network by battery" in line for line in told)


def test_results_name_the_sensor_of_each_energy(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "store.sqlite"
    copy.write_bytes(path.read_bytes())
    one, other = networks(2, TINY)
    with Store(str(copy)) as store:
        taken = make_energy_run(network_w=90.0, configuration=IN_TINY, kind="battery")
        new = "2099-01-01T00:00:00.000+00:00"
        store.add_block_run(
            replace(
                taken,
                architecture=str(one),
                graph_hash=one.graph_hash,
                model_digest=2 * one.graph_hash,
                started_utc=new,
            )
        )
    done = run(copy, "results")
    told = {
        tuple(line.split()[:: len(line.split()) - 1]) for line in done.stdout.splitlines() if "+-" in line
    }
    assert {(str(one), "battery"), (str(other), "rapl")} <= told
    assert "energy: what one sensor tells does not compare with what another does" in done.stderr
    assert "does not compare" not in run(path, "results").stderr


def test_a_prediction_reads_fresh_processes_once_and_says_what_cannot_be_cached(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, read = list[str](), list[str]()
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "no folder"))
    plain = Store.fresh_runs

    def fresh_runs(self: Store, configuration: Configuration, purpose: str = "network") -> list[FreshRun]:
        read.append(purpose)
        return plain(self, configuration, purpose)

    monkeypatch.setattr(Store, "fresh_runs", fresh_runs)
    with Store(str(path)) as store:
        harness.predict(store, device="made-up", threads=IN_TINY.threads, log=told.append)
    assert sorted(read) == ["network", "network", "segment"], "once beside the latencies that come with them"
    assert any("cannot be written" in line for line in told)


def test_what_is_not_measured_is_refused_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(stored(20, config=TINY))
    path = tmp_path / "store.sqlite"
    words = ("no energy is measured on device 'made-up'", "--energy --models design:1")
    refused(run(path, *SEARCH, "-c", "made-up:energy<50mJ"), *words)
    refused(run(path, *SEARCH, "-c", "made-up:energy<50ms"), "'ms' does not fit", "units: uJ, mJ, J")


def test_energy_of_busy_devices_alone_says_so(path: Path, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(stored(20, config=TINY))
    with Store(str(tmp_path / "store.sqlite")) as store, Store(str(path)) as other:
        (busy,) = (one for one in other.block_runs(IN_TINY, "energy") if one.blocks[0].others_busy == 0.9)
        store.add_block_run(busy)
        with pytest.raises(
            ConfigError, match="1 measured while other cores were busy, or may have been: --doubtful"
        ):
            fresh_cost(store, "made-up:energy", IN_TINY, LatencySource())


def test_energies_that_are_in_part_another_program_s_are_left_out_with_a_count(path: Path) -> None:
    told: list[str] = []
    with Store(str(path)) as store:
        fresh_cost(store, "made-up:energy", IN_TINY, LatencySource(), told.append)
        taken: list[str] = []
        fresh_cost(store, "made-up:energy", IN_TINY, LatencySource(doubtful=True), taken.append)
    assert any("energy of 1 network left out" in line and "--doubtful" in line for line in told), told
    assert not any("left out" in line for line in taken)


def test_a_sensor_that_counts_nothing_tells_no_energy() -> None:
    run = make_energy_run(configuration=IN_TINY)
    still = [{**reading, "uj": {"package-0": 7}} for reading in run.readings]
    with pytest.raises(NoEnergy, match="counted nothing"):
        energy_of(replace(run, readings=tuple(still)))
    assert newest_energy([replace(run, readings=tuple(still))]) is None


def test_the_energy_of_a_model_that_has_changed_since_does_not_count() -> None:
    old = make_energy_run(configuration=IN_TINY, model_digest="0" * 64)
    new = make_energy_run(
        configuration=IN_TINY, model_digest="1" * 64, started_utc="2099-01-01T00:00:00.000+00:00"
    )
    blind = replace(new, readings=())
    assert newest_energy([new, old]) == energy_of(new)
    assert newest_energy([old, blind]) is None
    assert newest_energy([old, replace(blind, model_digest=old.model_digest)]) == energy_of(old)
