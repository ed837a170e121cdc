"""A blockwise search from Python: a plain request, the store and what runs units as arguments, no command line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.block_libraries import (
    BLOCKS,
    SOURCE,
    made_library,
    made_teacher,
    save_library,
    tiny_store,
    write_library,
)
from factories.image_folders import write_task
from rigs.examples import run_example

import exporters
import harness
from harness.blockwise.costs import space_costs
from harness.blockwise.folder import write_predictions
from harness.blockwise.request import BlockwiseRequest
from harness.blockwise.run import BlockwiseResult, search_library
from harness.models.exported import ExportObserver
from harness.output.blockwise_text import print_blockwise
from harness.query.accuracies import AccuracySource
from harness.query.latencies import LatencySource
from harness.query.query import Query
from harness.store import Store
from harness.store.configurations import ConfigurationChoice
from search.blockwise.rounds import library_flops, tuning_flops
from search.distillation.block_library import load_library
from search.distillation.block_scores import score_on_training
from search.table.constraints import parse_constraint
from search.training.tasks import load_task
from search.training.trained_files import KIND, trained_content
from search.work.events import OnProgress
from search.work.local_pool import LocalPool
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Done, Failed, NamedUnits, Runner
from space import TINY, Architecture
from space.accuracies import load_accuracies
from space.errors import ConfigError
from space.networks import build_network

MORE: dict[str, Any] = {"finalists": 2, "fine_tune": 0}
KEY = "synthetic_predicted_val_top1_percent"
QUERY = Query(
    accuracies=AccuracySource(paths=()),
    latencies=LatencySource(measured_only=True),
    costs=("made-up",),
    constraints=(parse_constraint("made-up<5ms"),),
)
FITTED: dict[str, Any] = MORE | {
    "query": QUERY,
    "predictor": "donna",
    "fit_networks": 4,
    "fine_tune_epochs": 1,
}


class Idle:
    """A runner that has nothing to do, or the test fails."""

    def run(
        self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress
    ) -> Iterator[Done | Failed]:
        raise AssertionError(f"{len(units)} units are run again, the first {units[0]}")


def percent(network: Architecture) -> float:
    """Return a made-up accuracy that falls along a line with the places of a network's blocks among those of the library."""
    return 100 * (35 - 3 * sum(map(BLOCKS.index, network.blocks))) / 40


class AsMadeUp:
    """A runner that trains nothing: fine-tuned networks have made-up accuracies."""

    def run(
        self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress
    ) -> Iterator[Done | Failed]:
        for unit in units:
            network, one = Architecture.parse(unit.config["architecture"], TINY), made_teacher()
            val = replace(one.best.val, first=round(percent(network) * 0.4), among_five=40)
            history = (replace(one.best, val=val),)
            weights = build_network(network).state_dict()
            trained = replace(one, architecture=network, history=history, weights=weights)
            yield Done(
                unit=unit, digest=results.add(trained_content(trained), KIND), seconds=1.0, host="made up"
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


@pytest.mark.training
def test_the_example_of_python_runs(tmp_path: Path) -> None:
    here = Here(tmp_path / "store.sqlite")
    with here.open_store() as store:
        run_example("search_blocks", store=store, library=write_library(tmp_path / "library"))


@pytest.mark.training
def test_python_asks_what_the_request_asks_and_the_store_stays_open(tmp_path: Path) -> None:
    library, here = write_library(tmp_path / "library"), Here(tmp_path / "store.sqlite")
    with here.open_store() as store:
        found = harness.search_blocks(
            store, library, "made-up<5ms", predictor="donna", fit_networks=4, finalists=2, fine_tune=0,
            pareto="made-up", fine_tune_epochs=1, runner=AsMadeUp(),
        )  # fmt: skip
        assert store.configurations()
    request = BlockwiseRequest(library=library, pareto=("made-up",), **FITTED)
    same = search_library(
        request,
        open_store=here.open_store,
        runner=Idle(),
        watch=here.watch,
        observe=here.observe,
        log=lambda text: None,
    )
    for key in ("architecture", "accuracy", "candidates", "students", "fronts", "constraints", "commands"):
        assert found.document[key] == same.document[key], key
    (row,), columns = found.to_records()
    assert row["architecture"] == str(found.best) and list(row) == columns
    assert row["weights"] == "of the library, not fine-tuned" and row["made-up_ms"] < 5
    with pytest.raises(ConfigError, match="fit_networks = 2: give 3 or more"):
        harness.search_blocks(store, library, fit_networks=2)


@pytest.mark.training
def test_models_say_which_classes_and_normalization_a_users_own_images_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, dict[str, str]] = {}

    def standalone(_: Architecture, model_format: str, **given: Any) -> bytes:
        made[model_format] = dict(given["metadata"])
        return b"a model"

    monkeypatch.setattr(exporters, "standalone", standalone)
    source = f"folder:{write_task(tmp_path / 'images', load_task(SOURCE, TINY))}"
    library, here = write_library(tmp_path / "library", source=source), Here(tmp_path / "store.sqlite")
    search_library(
        BlockwiseRequest(query=QUERY, library=library, finalists=2, fine_tune=0, output=tmp_path / "answer"),
        open_store=here.open_store,
        runner=Idle(),
        watch=here.watch,
        observe=here.observe,
        log=lambda text: None,
    )
    task = load_task(source, TINY)
    assert sorted(made) == ["onnx", "tflite"]
    for notes in made.values():
        assert json.loads(notes["harness.classes"]) == list(task.class_names)
        assert json.loads(notes["harness.normalization"]) == {"mean": list(task.mean), "std": list(task.std)}
        assert "harness.accuracy" not in notes, "fp32 is not run"


def test_one_library_fitted_to_fine_tuned_networks_serves_any_limit_without_another_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library, here = tmp_path / "library", Here(tmp_path / "store.sqlite")
    made = made_library()
    nsr = np.linspace(0.1, 0.9, len(BLOCKS))  # of random blocks, of which the first are said to be the best
    save_library(library, replace(made, stages=tuple(replace(one, nsr=nsr) for one in made.stages if one)))

    def searched(runner: Runner, **more: Any) -> BlockwiseResult:
        request = BlockwiseRequest(**FITTED | {"library": library} | more)
        return search_library(
            request,
            open_store=here.open_store,
            runner=runner,
            watch=here.watch,
            observe=here.observe,
            log=lambda text: None,
        )

    first = searched(AsMadeUp())
    predictor = first.document["predictor"]
    assert (predictor["name"], predictor["columns"]) == ("donna", ["nsr"])
    assert (predictor["fit"], predictor["fitted_to"]) == ("fine-tuned", 4)
    assert [(title, len(names)) for title, _, names in here.ran] == [("fine-tuning", 4)]
    assert predictor["fit_costs"]["fine-tuned"]["images"] == 4 * 60
    known = first.answer.searched.known
    assert known is not None
    tuned = [
        tuning_flops(load_library(library).teacher, index, first.answer.setting) for index in known.indices
    ]
    distilled = library_flops(made_library().teacher, made_library(), first.answer.setting.task)
    assert first.document["training_flops"] == pytest.approx(distilled + sum(tuned))
    # Another limit, on another cost: the four are there, and what is predicted is the same.
    query = replace(QUERY, costs=("made-up", "params"), constraints=(parse_constraint("params<40k"),))
    second = searched(Idle(), query=query, pareto=("made-up", "params"))
    assert second.document["predictor"] == predictor
    fronts = second.document["fronts"]
    assert [front["costs"] for front in fronts] == [["made-up"], ["params"]]
    for front, key in zip(fronts, ("made-up_ms", "params"), strict=True):
        rows = front["networks"]
        costs, accuracies = ([row[name] for row in rows] for name in (key, KEY))
        assert costs == sorted(costs) and accuracies == sorted(set(accuracies)) and len(rows) > 1
        assert all(row["params"] < 40_000 for row in rows if "params" in row)
        assert set(rows[0]) >= {"architecture", KEY, key}
    print_blockwise(second, json_output=False, output=None)
    told = " ".join(capsys.readouterr().out.split())
    assert "fitted to 4 networks fine-tuned from the library, mean error" in told
    assert "these took 240 images," in told and "the same trained from scratch 240 images," in told
    assert "Pareto front over synthetic predicted_val_top1 and params" in told
    table = second.answer.searched.choice.table
    assert table is not None
    values = table.accuracy.values
    for blocks in product(BLOCKS, repeat=2):
        network = Architecture(blocks=blocks, config=TINY)
        assert values[network.index] == pytest.approx(percent(network)), (
            "a plane in the NSR, which is a line here"
        )
    assert max(row[KEY] for row in fronts[1]["networks"]) == np.nanmax(
        values[table.costs["params"].values < 40_000]
    )
    # Every prediction is there for other commands, as a user's own accuracies, which are percent.
    write_predictions(tmp_path / "predicted.csv", table)
    read = load_accuracies([tmp_path / "predicted.csv"], config=TINY)
    np.testing.assert_allclose(read.values, values.clip(0, 100), atol=5e-4)
    assert read.synthetic and np.isfinite(values).sum() == len(BLOCKS) ** 2


def test_lana_solves_an_integer_program_over_loss_changes_of_training_images(tmp_path: Path) -> None:
    library, here = write_library(tmp_path / "library"), Here(tmp_path / "store.sqlite")
    told: list[str] = []
    request = BlockwiseRequest(
        query=replace(QUERY, latencies=LatencySource()), library=library, predictor="lana", **MORE
    )
    found = search_library(
        request,
        open_store=here.open_store,
        runner=Idle(),
        watch=here.watch,
        observe=here.observe,
        log=told.append,
    )
    document = found.document
    assert (document["finalists_chosen_by"], document["networks_within_limits"]) == ("integer program", None)
    assert (document["predictor"]["columns"], document["predictor"]["fit"]) == (["train_loss_change"], None)
    made, task = made_library(), found.answer.setting.task
    changes = score_on_training(made, task).column("train_loss_change")
    # The program's answer is the best of all that the sums allow.
    with here.open_store() as store:
        costs, _ = space_costs(store, TINY, ["made-up"], LatencySource(), told.append, as_sums=True)
    scores = {}
    for blocks in product(BLOCKS, repeat=2):
        network = Architecture(blocks=blocks, config=TINY)
        if costs.costs["made-up"].at(network.index).value < 5:
            rows = [TINY.blocks.index(block) for block in blocks]
            scores[str(network)] = -float(changes[[0, 1], rows].sum())
    assert 0 < len(scores) < len(BLOCKS) ** 2
    key = "synthetic_minus_train_loss_change_sum"
    first = max(document["candidates"], key=lambda one: one[key])
    assert first["architecture"] == max(scores, key=lambda name: scores[name])
    assert first[key] == pytest.approx(max(scores.values()))


def test_what_a_predictor_is_fitted_to_follows_from_the_others_or_is_refused() -> None:
    def made(**more: Any) -> BlockwiseRequest:
        return BlockwiseRequest(query=QUERY, library=Path("library"), **more)

    for more, name, kind in (
        ({}, "sum", ""),
        ({"predictor": "donna"}, "donna", "fine-tuned"),
        ({"fit": "fine-tuned"}, "donna", "fine-tuned"),
        ({"predictor": "donna", "trained": Path("t")}, "donna", "scratch"),
        ({"predictor": "gcn", "fit": "fine-tuned"}, "gcn", "fine-tuned"),
        ({"predictor": "lana"}, "lana", ""),
    ):
        assert (made(**more).predictor_name, made(**more).fit_kind) == (name, kind)
    for more, message in (
        ({"fit": "finetuned"}, "--fit 'finetuned' is unknown; did you mean 'fine-tuned'"),
        ({"fit": "scratch"}, "name their folder with --trained"),
        ({"fit": "fine-tuned", "trained": Path("t")}, "leave one of them out"),
        ({"fit_networks": 5}, "--fit-networks 5: nothing is fine-tuned for the predictor; add --fit"),
        ({"predictor": "lana", "columns": ("nsr",)}, "reads train_loss_change alone; take --predictor sum"),
        ({"pareto": ("params",)}, "--predictor sum ranks networks and knows no accuracies; add --fit"),
        ({"pareto": ("params",), "predictor": "lana"}, "one limit; for fronts take --predictor sum"),
    ):
        with pytest.raises(ConfigError, match=message):
            made(**more)


def test_values_that_contradict_each_other_are_refused_when_the_request_is_made() -> None:
    with pytest.raises(ConfigError, match="--predictor linear is fitted to accuracies"):
        BlockwiseRequest(query=QUERY, library=Path("library"), predictor="linear")
    with pytest.raises(ConfigError, match="the next teacher is a network that was fine-tuned"):
        BlockwiseRequest(query=QUERY, library=Path("library"), fine_tune=0, max_flops=1e15)
    assert BlockwiseRequest(query=QUERY, library=Path("library")).predictor_name == "sum"
    given = BlockwiseRequest(query=QUERY, library=Path("library"), trained=Path("trained"))
    assert given.predictor_name == "linear"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            replace(QUERY, costs=("params",), constraints=(parse_constraint("params<40k"),)),
            "no device of the store",
        ),
        (
            replace(
                QUERY, latencies=LatencySource(choice=ConfigurationChoice(devices_file=Path("devices.toml")))
            ),
            r"unknown device 'made-up' .*add \[devices\.made-up\]",
        ),
    ],
)
def test_devices_that_cannot_be_measured_are_refused_before_anything_is_trained(
    query: Query, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("devices.toml").write_text('[devices.other]\ntransport = "local"\n')
    here = Here(tmp_path / "store.sqlite")
    request = BlockwiseRequest(
        query=query, library=write_library(tmp_path / "library"), finalists=2, fine_tune=1, verify=1
    )
    with pytest.raises(ConfigError, match=message):
        search_library(
            request,
            open_store=here.open_store,
            runner=Idle(),
            watch=here.watch,
            observe=here.observe,
            log=lambda text: None,
        )
    assert here.ran == []
