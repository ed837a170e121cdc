"""Every method of the table, alone and after a proxy, keeps the contract."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contracts.method import MethodContract

from search.accuracy.gcn import GcnConfig
from search.methods import predictor_loop, registry
from search.methods.registry import METHODS, PROXIES, RANKED
from search.proxies import measures

PLAIN = [name for name in METHODS if name != RANKED]
WARMED = [f"{name}+synflow" for name, known in METHODS.items() if known.warms_up and name != RANKED]
TEXTS = [*PLAIN, *WARMED, "synflow"]


@pytest.fixture(autouse=True)
def small_graph_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train graph networks for seconds less: the contract does not ask how well they predict."""
    small = GcnConfig(layers=1, width=8, epochs=2)
    monkeypatch.setattr(predictor_loop.gcn, "__defaults__", (small,))
    monkeypatch.setattr(registry, "GCN_PAIRS_CONFIG", replace(small, pairs=True))


@pytest.mark.parametrize("name", TEXTS)
class TestEveryMethod(MethodContract):
    @pytest.fixture
    def text(self, name: str) -> str:
        return name


def test_every_method_of_the_table_is_held_to_the_contract() -> None:
    assert {text.partition("+")[0] for text in TEXTS} >= set(METHODS) - {RANKED}


def test_the_proxies_of_the_table_are_those_that_can_be_computed() -> None:
    assert set(PROXIES) == set(measures.PROXIES)
