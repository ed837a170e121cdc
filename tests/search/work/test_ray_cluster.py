"""A real Ray cluster of two nodes keeps the contract of runners, and a node killed in the run costs an attempt at most."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from contracts.runner import WorkContract
from rigs import TESTS

from search.work.events import Event, sentence
from search.work.local_pool import LocalPool
from search.work.ray_cluster import RayCluster
from search.work.ray_driver import _scratch
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Runner, run_units
from space.errors import ConfigError

pytestmark = [pytest.mark.ray, pytest.mark.long]

PATIENCE_S = 60.0
MODULES = (TESTS / "factories",)
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install ray")


class Nodes:
    """A cluster in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, TESTS / "rigs" / "ray_nodes.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = next(line.strip() for line in self.process.stdout if ":" in line)

    def kill_one(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert next(line for line in self.process.stdout if line.startswith("killed"))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    with nodes.process:
        yield nodes
        assert nodes.process.stdin is not None
        nodes.process.stdin.close()


@needs_ray
class TestRayCluster(WorkContract):
    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls, nodes: Nodes) -> Runner:
        return RayCluster(address=nodes.address, retries=1, modules=MODULES)


@needs_ray
def test_with_a_node_killed_in_the_run_every_unit_finishes_and_equals_the_local_result(
    nodes: Nodes, tmp_path: Path
) -> None:
    far, here = ResultStore(folder=tmp_path / "far"), ResultStore(folder=tmp_path / "here")
    go, calls = tmp_path / "go", [tmp_path / "0", tmp_path / "1"]
    held = [
        Unit(kind="factories.work:held", config={"go": str(go), "calls": str(path), "number": number})
        for number, path in enumerate(calls)
    ]
    where = Unit(kind="factories.work:place", config={})  # which waits for a node
    told: list[str] = []

    def show(event: Event) -> None:
        told.append(sentence(event))
        waiting = [int(text.split()[-2]) for text in told if text.endswith(" waits")]
        if len(waiting) == 2 and not go.exists():
            nodes.kill_one()  # while both are at work
            deadline = time.monotonic() + PATIENCE_S
            while all(Path(f"/proc/{process}").exists() for process in waiting):
                assert time.monotonic() < deadline  # a node's processes end with it
                time.sleep(0.05)
            go.touch()

    done = run_units([*held, where], far, RayCluster(address=nodes.address, modules=MODULES), show)
    assert go.exists()
    assert sorted(len(path.read_text().splitlines()) for path in calls) == [1, 2]
    assert sum("is computed again" in text for text in told) == 1
    local = run_units(held, here, LocalPool())
    assert {key: done[key] for key in local} == local  # the digests of what they gave
    assert "runtime_resources" in far.get(done[where.key])["file"]  # the code that came with the units


@needs_ray
def test_an_address_where_nobody_listens_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    unit = Unit(kind="factories.work:place", config={})
    with pytest.raises(ConfigError, match=r"no cluster at .*nothing listens there.*ray start --head"):
        run_units([unit], ResultStore(folder=tmp_path), RayCluster(address=address))


@needs_ray
def test_an_address_where_something_else_answers_is_refused_in_time(tmp_path: Path) -> None:
    unit = Unit(kind="factories.work:place", config={})
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"it did not answer as Ray does within 1 s\. Start one"):
            run_units([unit], ResultStore(folder=tmp_path), RayCluster(address=address, connect_s=1))


def test_scratch_folders_of_killed_processes_go_and_those_of_living_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with _scratch() as living:
        left = living.parents[1] / "left"
        left.mkdir()
        (left / "lock").touch()  # that nobody holds any more
        with _scratch() as other:
            assert not left.exists()
            assert living.is_dir() and other.is_dir()
        assert not other.exists()
    assert not living.exists()


@needs_ray
def test_code_that_is_not_there_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    unit = Unit(kind="factories.work:place", config={})
    runner = RayCluster(address=nodes.address, modules=(tmp_path / "gone.py",))
    with pytest.raises(ConfigError, match=r"there is no .*gone\.py, which should travel"):
        run_units([unit], ResultStore(folder=tmp_path), runner)


def test_without_ray_the_line_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    unit = Unit(kind="factories.work:place", config={})
    with pytest.raises(ConfigError, match=r"Ray is not installed; pip install 'harness\[cluster\]'"):
        run_units([unit], ResultStore(folder=tmp_path), RayCluster())


@pytest.mark.parametrize("address", ["", "here", "http://10.0.0.1:6379", "ray://10.0.0.1:10001", "10.0.0.1:"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="give HOST:PORT"):
        RayCluster(address=address)
