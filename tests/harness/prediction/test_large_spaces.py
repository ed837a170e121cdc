"""`harness predict` in a space that nothing lists: some networks are measured, any others predicted, and the errors told."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from factories.chains import NOISE, additive_ratios, additive_store, long_chain
from factories.own_spaces import own_space
from factories.records import make_fresh_run
from rigs.commands import refused, run

from harness.prediction.space_prediction import SpaceTable, predict
from harness.store import Store
from space import BLOX, ArchitectureError, find_space
from space.hash_table import first_equals

CHOSEN = ("-d", "made-up", "--space", long_chain().name)
REFERENCE_MS = 5.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "store.sqlite"
    path.write_bytes(additive_store("sample:80@1", long_chain()))
    return path


@pytest.fixture(scope="module")
def table(store: Path) -> SpaceTable:
    with Store(str(store)) as opened:
        return predict(opened, device="made-up", space=long_chain())


def test_networks_that_add_up_are_predicted_within_their_intervals(table: SpaceTable) -> None:
    space = long_chain()
    others = np.array([network.index for network in space.sample(300, seed=9)])
    found = table.predictor.predict(others)
    truth = additive_ratios(space, others)
    errors = np.abs(found.ratios / truth - 1)
    assert errors.mean() < 0.02 and table.predictor.errors.mape < 0.03
    measured = truth * np.exp(np.random.default_rng(0).normal(0, NOISE / np.sqrt(2), len(truth)))
    inside = (found.low <= measured) & (measured <= found.high)
    assert inside.mean() > 0.8 and found.supported.mean() > 0.9
    assert table.held_out is not None and table.held_out.mape_interval[1] < 0.05


def test_measured_networks_keep_their_latency_and_any_other_has_one(table: SpaceTable) -> None:
    space = long_chain()
    measured = space.sample(80, seed=1)[3]
    assert table.at(measured).source == "measured"
    row = table.at("/".join(["k3"] * 12))
    assert row.source == "predicted" and row.low_ms < row.latency_ms < row.high_ms  # type: ignore[operator]
    ratio = additive_ratios(space, np.array([row.index]))[0]
    assert row.latency_ms == pytest.approx(REFERENCE_MS * ratio, rel=0.1)
    with pytest.raises(ArchitectureError, match="is of space 'blox', not"):
        table.at(BLOX[0])


def test_the_fastest_and_slowest_of_all_are_those_of_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = find_space(own_space())
    path = tmp_path / "store.sqlite"
    path.write_bytes(additive_store("sample:20", space))
    with monkeypatch.context() as patch, Store(str(path)) as opened:
        patch.setattr("space.config.MAX_ENUMERABLE", len(space) - 1)
        found = predict(opened, device="made-up", space=space)
        assert found.everywhere is None
        lowest, highest = found.ends(len(space))
    ratios = found.predictor.predict(np.arange(len(space))).ratios
    names: dict[int, list[float]] = {}  # of each network, what is predicted by each
    for first, ratio in zip(first_equals(space).tolist(), ratios.tolist(), strict=True):
        names.setdefault(first, []).append(ratio)
    assert len(names) < len(space), "some networks have several"
    assert ratios[lowest].tolist() == pytest.approx(sorted(map(min, names.values())))
    assert ratios[highest].tolist() == pytest.approx(sorted(map(max, names.values())))


def test_what_would_need_a_list_is_refused_with_a_remedy(
    store: Path, table: SpaceTable, tmp_path: Path
) -> None:
    wanted = ("16,777,216 networks", "too many to list", "--models")
    refused(run(store, "predict", *CHOSEN, "--csv"), *wanted)
    output = tmp_path / "all.csv"
    refused(run(store, "predict", *CHOSEN, "--output", str(output)), *wanted)
    assert not output.exists()
    with pytest.raises(ArchitectureError, match="too many to list"):
        table.rows()
    with pytest.raises(ArchitectureError, match=r"index -1: space .* give 0 to 16777215"):
        table.rows([3, -1])
    configuration = table.measured.configuration.digest
    refused(run(store, "predict", *CHOSEN, "--prior", configuration[:8]), "prior")


def test_the_command_predicts_what_is_named(store: Path) -> None:
    done = run(store, "predict", *CHOSEN, "--models", "sample:3@9", "--json")
    document = done.json
    assert [row["architecture"] for row in document["networks"]] == list(
        map(str, long_chain().sample(3, seed=9))
    )
    assert (document["unsupported_networks"], document["unmeasured_places"]) == (None, [])
    shown = run(store, "predict", *CHOSEN)
    assert (
        "fitted on 78 measured networks of 16,777,216" in shown.stdout and "5 slowest of all" in shown.stdout
    )
    # Their two sessions differ by what chance shows one network of a hundred.
    assert "2 networks of grade D left out" in shown.stderr


def test_memory_measured_beside_is_said_to_be_predicted_of_none(tmp_path: Path) -> None:
    space = long_chain()
    path = tmp_path / "store.sqlite"
    path.write_bytes(additive_store("sample:12@1", space))
    with Store(str(path)) as opened:
        (device,) = opened.configurations()
        for network in space.sample(12, seed=1):
            changes = {
                "architecture": str(network),
                "graph_hash": network.graph_hash,
                "model_digest": 2 * network.graph_hash,
            }
            opened.add_fresh_run(make_fresh_run(20_000_000, configuration=device, **changes))
    text = run(path, "predict", *CHOSEN).stdout
    assert "peak memory, load time, first run: not predicted in a space too large to list" in text


def test_a_candidate_that_no_measured_network_has_is_named_and_is_in_none_of_the_fastest_and_slowest(
    tmp_path: Path,
) -> None:
    space = long_chain()
    names = [str(network) for network in space.sample(80, seed=1) if str(network.blocks[2]) != "skip"][:30]
    path = tmp_path / "store.sqlite"
    path.write_bytes(additive_store(",".join(names), space))
    text = run(path, "predict", *CHOSEN).stdout
    assert "site2:skip is in no measured network: networks with them" in text and "--models design:1" in text
    assert "5 fastest of what measured networks tell of" in text and "5 slowest of what" in text
    shown = re.findall(r"(?:\w+/){11}\w+", text)
    assert len(shown) == 10 and {name.split("/")[2] for name in shown} <= {"k1", "k3", "k5"}
    row = run(path, "predict", *CHOSEN, "--models", "/".join(["skip"] * 12), "--json").json["networks"][0]
    assert row["source"] == "predicted" and not row["supported"]
