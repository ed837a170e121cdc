"""The nodes of a Ray cluster, as Ray lists them; tests of a real cluster are in test_ray_cluster.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.work import ray_driver
from search.work.ray_driver import Order, _Nodes
from space.errors import HarnessError


def node(name: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": resources}


def test_nodes_are_those_large_enough_and_one_that_is_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    order = Order(address="a:1", threads=2, device="cuda", retries=1, patience_s=30.0, code=Path())
    listed = [node("large", CPU=2, GPU=1), node("small", CPU=1, GPU=1), node("other", CPU=8)]
    now = [0.0]
    monkeypatch.setattr(ray_driver, "_ray", lambda: SimpleNamespace(nodes=lambda: listed))
    monkeypatch.setattr(ray_driver, "time", SimpleNamespace(monotonic=lambda: now[0]))
    nodes = _Nodes(order)
    assert nodes.able == {"large"}
    listed[0]["Alive"] = False
    assert list(nodes.look(3)) == [], "it has just looked"
    now[0] = 20.0
    assert [event.text for event in nodes.look(3)] == ["node large is lost; 0 nodes can run a unit"]
    now[0] = 60.0
    with pytest.raises(HarnessError, match=r"for 30 s no node of a:1 could run a unit.*and 3 are to do"):
        list(nodes.look(3))
