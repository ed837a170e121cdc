"""Every method of the table, alone and after a proxy, keeps the contract."""

from __future__ import annotations

import pytest
from method_contract import MethodContract

from search.methods.table import METHODS, PROXIES, RANKED

PLAIN = [name for name in METHODS if name != RANKED]
WARMED = [f"{name}+synflow" for name, known in METHODS.items() if known.warms_up and name != RANKED]
TEXTS = [*PLAIN, *WARMED, "synflow"]


@pytest.mark.parametrize("name", TEXTS)
class TestEveryMethod(MethodContract):
    @pytest.fixture
    def text(self, name: str) -> str:
        return name


def test_every_method_of_the_table_is_held_to_the_contract() -> None:
    assert {text.partition("+")[0] for text in TEXTS} >= set(METHODS) - {RANKED}
    assert "synflow" in PROXIES
