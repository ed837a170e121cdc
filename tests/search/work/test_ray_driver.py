"""The nodes of a Ray cluster, as Ray lists them; tests of a real cluster are in test_ray_cluster.py."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from search.work import ray_driver
from search.work.ray_driver import Order, _Nodes, _raised, _redirect, _scratch, _work
from search.work.unit import Unit
from search.work.unit_runs import Failed
from space.errors import ConfigError, HarnessError


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


def test_a_node_that_cannot_begin_a_unit_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_driver, "_ray", lambda: SimpleNamespace(wait=lambda *_, **__: None))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    mailbox = SimpleNamespace(put=SimpleNamespace(remote=lambda event: None))
    unit = Unit(kind="factories.work:add", config={"number": 1})
    found = _work(unit, torch.get_num_threads(), "cpu", mailbox)
    assert isinstance(found, Failed)
    assert "No such file or directory" in found.message
    assert found.message.endswith(f" (on {socket.gethostname()})")


def test_what_a_node_raised_is_no_lost_process() -> None:
    unit = Unit(kind="factories.work:add", config={"number": 1})
    error = Exception("a long traceback")
    assert _raised(unit, error) is None
    error.cause = ModuleNotFoundError("No module named 'torch'")  # type: ignore[attr-defined]  # as Ray's RayTaskError has it
    found = _raised(unit, error)
    assert found is not None and found.message == "ModuleNotFoundError: No module named 'torch'"


def test_a_scratch_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    victim = tmp_path / "results"
    victim.mkdir()
    (victim / "lock").touch()
    (tmp_path / f"harness-units-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="is another user's"), _scratch():
        pass
    assert victim.is_dir()


def test_a_log_that_cannot_be_written_is_an_error_of_its_path(tmp_path: Path) -> None:
    (tmp_path / "ray.log").mkdir()
    with pytest.raises(ConfigError, match=r"ray\.log: cannot be written: Is a directory"):
        _redirect(tmp_path / "ray.log")
