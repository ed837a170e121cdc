"""Spaces too large to list: single networks have all that others have, and whole-space answers are refused with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from space import DEEP, SPACES, TINY, Architecture, ArchitectureError, hash_table, is_enumerable
from space.accuracies import load_accuracies
from space.costs import all_macs, all_params
from space.dataset import bench_dataset, read_dataset, write_dataset
from space.dataset.keys import digests_at, indices_of_digests
from space.errors import DatasetError
from space.memory import all_memory
from space.networks import build_network
from space.selection import select_models


def test_of_the_named_spaces_deep_alone_cannot_be_enumerated() -> None:
    assert [name for name, config in SPACES.items() if not is_enumerable(config)] == ["deep"]
    assert len(DEEP) == 45**5 == 184_528_125


@pytest.mark.parametrize("index", [0, 91_125_000, len(DEEP) - 1])
def test_a_network_of_deep_has_every_name_and_its_costs_are_those_of_its_layers(index: int) -> None:
    network = Architecture.from_index(index, DEEP)
    assert Architecture.parse(str(network), DEEP) == Architecture.from_vector(network.vector, DEEP) == network
    assert network.params == sum(one.numel() for one in build_network(network).parameters())
    assert len(network.graph_hash) == 32
    assert network.macs > 0


def test_samples_and_designs_of_deep_are_drawn_without_listing_it() -> None:
    assert len(select_models("sample:40@3", DEEP)) == 40
    design = select_models("design:2", DEEP)
    for stage in range(DEEP.stages):
        assert {str(one.blocks[stage]) for one in design[:45]} == {str(block) for block in DEEP.blocks}


@pytest.mark.parametrize("ask", [all_params, all_macs, all_memory], ids=lambda ask: str(ask.__name__))
def test_costs_of_all_its_networks_are_refused(ask: Callable[..., object]) -> None:
    with pytest.raises(ArchitectureError, match="184,528,125 networks of space 'deep' are too many to list"):
        ask(DEEP)


def test_accuracies_of_all_its_networks_are_refused_before_a_file_is_read() -> None:
    with pytest.raises(ArchitectureError, match="accuracies of a whole space: the 184,528,125 networks"):
        load_accuracies("nowhere.csv", config=DEEP)


def test_all_its_networks_and_a_hash_are_refused_with_what_to_write_instead() -> None:
    with pytest.raises(ArchitectureError, match="too many to list; write sample:N"):
        select_models("all", DEEP)
    known = Architecture.from_index(7, DEEP).graph_hash
    with pytest.raises(ArchitectureError, match="name the network by its text or index"):
        select_models(known, DEEP)


def test_a_few_rows_of_deep_are_published_under_the_hashes_of_their_networks(tmp_path: Path) -> None:
    indices = np.array([5, 184_528_124])
    path = tmp_path / "blox-bench-made-up.csv"
    write_dataset(path, bench_dataset("made-up", indices, [0.001, 0.002], DEEP))
    text = path.read_text()
    assert all(Architecture.from_index(index, DEEP).graph_hash in text for index in indices.tolist())
    with pytest.raises(DatasetError, match="too many to join by hash"):
        read_dataset(path, config=DEEP)


def test_hashes_computed_one_by_one_are_those_of_the_whole_space(monkeypatch: pytest.MonkeyPatch) -> None:
    indices = np.array([3, 2024, 77])
    together = digests_at(indices, TINY)
    assert (indices_of_digests(together, TINY) == indices).all()
    monkeypatch.setattr(hash_table, "MAX_COMPUTED", 5)
    assert (digests_at(indices, TINY) == together).all()
    with pytest.raises(DatasetError, match="too many to join by hash"):
        digests_at(np.arange(6), TINY)
