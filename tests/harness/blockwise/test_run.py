"""A blockwise search from Python: a plain request, the store and what runs units as arguments, no command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from factories.block_libraries import tiny_store, write_library

import exporters
from harness.blockwise.run import search_library
from harness.blockwise.setup import BlockwiseRequest
from harness.models.exported import ExportObserver
from harness.query.accuracies import AccuracySource
from harness.query.latencies import LatencySource
from harness.query.query import Query
from harness.store import Store
from search.table.constraints import parse_constraint
from search.work.events import OnProgress
from search.work.local_pool import LocalPool
from search.work.unit_runs import NamedUnits
from space.errors import ConfigError

QUERY = Query(
    accuracies=AccuracySource(paths=()),
    latencies=LatencySource(measured_only=True),
    costs=("made-up",),
    constraints=(parse_constraint("made-up<5ms"),),
)


class Here:
    """Opens the store, watches units, and refuses to measure."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(tiny_store())
        self.path = path
        self.ran: list[tuple[str, int, list[str]]] = []

    def open_store(self) -> Store:
        return Store(str(self.path))

    @contextmanager
    def watch(self, units: NamedUnits) -> Iterator[OnProgress]:
        self.ran.append((units.title, units.epochs, list(units.names.values())))
        yield lambda event: None

    def observe(self) -> AbstractContextManager[ExportObserver]:
        raise AssertionError("nothing was to be measured")


@pytest.mark.training
def test_a_request_is_all_that_a_search_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["no", "command", "line"])
    monkeypatch.setattr(exporters, "standalone", lambda *_, **__: b"a model")  # seconds, and not asked here
    library, here = write_library(tmp_path / "library"), Here(tmp_path / "store.sqlite")
    told: list[str] = []
    request = BlockwiseRequest(
        query=QUERY, library=library, finalists=2, fine_tune=1, fine_tune_epochs=1, output=tmp_path / "answer"
    )
    found = search_library(
        request,
        open_store=here.open_store,
        runner=LocalPool(),
        watch=here.watch,
        observe=here.observe,
        log=told.append,
    )
    network = found.document["architecture"]
    assert here.ran == [("fine-tuning", 1, [str(found.answer.searched.found.students[0].architecture)])]
    assert (found.answer.within, found.outcomes) == (True, ())
    assert any(text.startswith(f"{network}: ") for text in told)
    assert {"weights.pt", "model.onnx", "model.tflite"} <= set(found.document["files"])
    assert sorted(path.name for path in (tmp_path / "answer").iterdir()) == sorted(
        [*found.document["files"], "answer.json"]
    )
    lines = [line.split()[:2] for line in found.document["commands"]]
    assert lines == [["harness", "train"], ["harness", "distill"]], "nothing was typed"


def test_values_that_contradict_each_other_are_refused_when_the_request_is_made() -> None:
    with pytest.raises(ConfigError, match="--predictor linear is fitted to accuracies"):
        BlockwiseRequest(query=QUERY, library=Path("library"), predictor="linear")
    with pytest.raises(ConfigError, match="the next teacher is a network that was fine-tuned"):
        BlockwiseRequest(query=QUERY, library=Path("library"), fine_tune=0, max_flops=1e15)
    assert BlockwiseRequest(query=QUERY, library=Path("library")).predictor_name == "sum"
    given = BlockwiseRequest(query=QUERY, library=Path("library"), trained=Path("trained"))
    assert given.predictor_name == "linear"
