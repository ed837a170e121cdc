"""`harness search --method blockwise` by integer programs: where a space cannot be enumerated, and where it is made to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from factories.block_libraries import BLOCKS as TINY_BLOCKS
from factories.block_libraries import SOURCE, made_teacher, write_accuracies, write_library
from factories.deep_libraries import NETWORKS, sampled_store, write_deep_library
from rigs.commands import Done, refused, run

from harness.blockwise.costs import space_costs
from harness.query.latencies import LatencySource
from harness.store import Store
from search.accuracy.gcn import GcnConfig
from search.blockwise.predictors import fit
from search.blockwise.rounds import library_flops, most, tuning_flops
from search.blockwise.search import SearchPlan
from search.blockwise.setting import known_accuracies
from search.distillation.block_library import load_library
from search.distillation.signatures import Signatures
from search.training.published_files import write_trainings
from search.training.tasks import load_task
from search.training.trained_files import KIND, trained_content
from search.work.results import ResultStore
from search.work.training_folder import training_units
from space import DEEP, TINY, Architecture
from space.costs import all_macs
from space.errors import ConfigError
from space.networks import build_network

METHOD = ("search", "--method", "blockwise")
NOT_TRAINED = ("--fine-tune", "0", "--device", "made-up")
QUICK = (*NOT_TRAINED, "--finalists", "4")
ONE = (*NOT_TRAINED, "--finalists", "1")
LIMIT_MS = 7.0
DEEP_LIMIT = ("--max-latency", f"{LIMIT_MS:g}ms")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deep_library(tmp_path_factory.mktemp("deep") / "library")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deep-store") / "store.sqlite"
    path.write_bytes(sampled_store(DEEP, 40))
    return path


@pytest.fixture(scope="module")
def answered(library: Path, store: Path) -> Done:
    # Imports what is imported late.
    run(store, *METHOD, *QUICK, "--library", str(library), "--max-latency", "1us")
    before = resident("VmRSS")
    done = run(store, *METHOD, *QUICK, "--library", str(library), *DEEP_LIMIT, "--json")
    assert done.status == 0, done.stderr
    if before is not None:
        peak = resident("VmHWM")
        assert peak is not None and peak - before < len(DEEP), "not even a byte for each network of the space"
    return done


def resident(name: str) -> int | None:
    """Return the bytes of this process that are, or at most were since the last call, in memory; None where no one tells."""
    try:
        text = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        return None
    return next(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith(name))


# --- deep: five stages ----------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.slow
def test_finalists_of_184_million_networks_are_the_best_of_all_that_the_library_can_make(
    answered: Done, library: Path, store: Path
) -> None:
    found = answered.json
    assert found["finalists_chosen_by"] == "integer program"
    assert (found["networks_within_limits"], found["pool"]) == (None, None)
    (path,) = (library / "results").glob("signatures-*.json")
    change = Signatures.load(path).column("loss_change")
    opened = Store(str(store))
    costs, _ = space_costs(opened, DEEP, ["made-up"], LatencySource(), lambda text: None)
    cost = costs.costs["made-up"]
    opened.close()
    within = []
    for blocks in NETWORKS:
        network = Architecture(blocks=blocks, config=DEEP)
        if cost.at(network.index).value <= LIMIT_MS:
            rows = [DEEP.blocks.index(block) for block in blocks]
            within.append((-float(change[np.arange(5), rows].sum()), set(enumerate(blocks))))
    assert 100 < len(within) < len(NETWORKS) - 100
    chosen: list[tuple[float, set[Any]]] = []
    for score, places in sorted(within, key=lambda one: -one[0]):
        if len(chosen) < 4 and all(len(places & other) <= 3 for _, other in chosen):
            chosen.append((score, places))
    scores = sorted((one["synthetic_minus_loss_change_sum"] for one in found["candidates"]), reverse=True)
    assert scores == pytest.approx([score for score, _ in chosen], abs=1e-9)
    latency = found["costs"]["made-up"]
    assert latency["low"] < latency["value"] < latency["high"]
    assert latency["value"] <= LIMIT_MS
    assert latency["source"] == "predicted"


@pytest.mark.slow
def test_people_are_told_that_nothing_was_listed_and_how_good_the_latencies_are(
    library: Path, store: Path
) -> None:
    text = run(store, *METHOD, *ONE, "--library", str(library), *DEEP_LIMIT).stdout
    lines = " ".join(text.split())
    assert (
        f"184,528,125 networks, too many to list: an integer program chose the finalists within made-up<={LIMIT_MS:g}ms"
        in lines
    )
    assert f"{len(DEEP) - len(NETWORKS):,} have a block that was not distilled" in lines
    assert "40 measured" in lines and "predicted by ridge, mean error" in lines


@pytest.mark.slow
def test_confidence_holds_the_far_end_of_the_interval_below_the_limit(
    answered: Done, library: Path, store: Path
) -> None:
    arguments = (*METHOD, *ONE, "--library", str(library), *DEEP_LIMIT, "--json")
    found = run(store, *arguments, "--confidence", "0.9").json
    assert found["costs"]["made-up"]["high"] <= LIMIT_MS
    best = [
        max(one["synthetic_minus_loss_change_sum"] for one in which["candidates"])
        for which in (found, answered.json)
    ]
    assert best[0] <= best[1]


def test_limits_that_nothing_meets_name_the_nearest_before_any_block_is_signed(
    store: Path, tmp_path: Path
) -> None:
    own = write_deep_library(tmp_path / "library")
    done = run(store, *METHOD, *QUICK, "--library", str(own), "--max-latency", "1us")
    refused(done, "no network is within made-up<=0.001ms; the nearest is", "times made-up<=0.001ms")
    assert "scoring" not in done.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--measured-only"], ["--measured-only: of the 184,528,125 networks of space 'deep' hardly any"]),
        (["--constraint", "memory>1MB"], ["memory>1MB", "is a maximum", "leave the limit out"]),
        (["--constraint", "params<1k"], ["no network is within", "params", "times params<1k"]),
    ],
)
def test_what_sums_cannot_say_is_refused(
    library: Path, store: Path, options: list[str], parts: list[str]
) -> None:
    refused(run(store, *METHOD, *QUICK, "--library", str(library), *DEEP_LIMIT, *options), *parts)


def test_too_few_measured_networks_name_the_command_that_measures_more(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "few.sqlite"
    path.write_bytes(sampled_store(DEEP, 9))
    done = run(path, *METHOD, *QUICK, "--library", str(library), *DEEP_LIMIT)
    refused(done, "9 networks are measured", "needs 10", "--space deep --models design:1")


def test_too_few_for_the_confidence_is_said_and_how_to_measure_more(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "few.sqlite"
    path.write_bytes(sampled_store(DEEP, 12))
    done = run(
        path, *METHOD, *QUICK, "--library", str(library), *DEEP_LIMIT, "--json", "--confidence", "0.95"
    )
    assert "12 measured networks are too few for intervals of 95%" in done.stderr
    assert done.status == 2, "none of the measured ones has distilled blocks only"


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "--device", "made-up", "--csv"),
        ("dataset", "write", "--device", "made-up", "--output", "."),
        ("dataset", "write", "--device", "made-up", "--output", ".", "--measured-only"),
        ("search", "-a", "synthetic", "--device", "made-up", "--max-latency", "5ms"),
        ("measure", "--space", "deep", "--models", "all"),
    ],
    ids=lambda command: " ".join(command),
)
def test_what_needs_every_network_of_the_space_is_refused_with_what_to_do_instead(
    store: Path, command: tuple[str, ...]
) -> None:
    refused(run(store, *command), "184,528,125 networks of space 'deep' are too many to list; ")


# --- tiny, made to be too large -------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return a library of tiny, trainings of some of its networks with made-up accuracies, and a store."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "store.sqlite").write_bytes(sampled_store(TINY, 24))
    names = [f"{first}/{second}" for first in TINY_BLOCKS[:4] for second in TINY_BLOCKS[1:3]]
    networks = [Architecture.parse(name, TINY) for name in names]
    teacher, task = made_teacher(), load_task(SOURCE, TINY)
    results, made = ResultStore(folder=folder / "trained"), []
    for place, unit in enumerate(training_units(networks, task, teacher.recipe)):
        val = replace(teacher.best.val, first=5 + 2 * place % 17)
        made.append(
            replace(
                teacher,
                architecture=networks[place],
                weights=build_network(networks[place]).state_dict(),
                history=(replace(teacher.best, val=val),),
            )
        )
        results.record(unit, results.add(trained_content(made[-1]), KIND), 1.0, "made up")
    write_trainings(folder / "trained", made)
    return write_library(folder / "library"), folder / "trained", folder / "store.sqlite"


def test_a_space_made_too_large_has_fronts_that_lie_on_those_of_all_networks(
    tiny: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, trained, path = tiny
    words = [*METHOD, *ONE, "--library", str(library), "--trained", str(trained), "--predictor", "linear"]
    words += ["--max-latency", "5.2ms", "--pareto", "made-up", "--pareto", "params"]
    listed = run(path, *words, "--json")
    assert listed.status == 0, listed.stderr
    monkeypatch.setattr("space.config.MAX_ENUMERABLE", 1000)
    summed = run(path, *words, "--json")
    assert summed.status == 0, summed.stderr
    key = "synthetic_predicted_val_top1_percent"
    for found, whole, cost in zip(
        summed.json["fronts"], listed.json["fronts"], ("made-up_ms", "params"), strict=True
    ):
        assert (found["by"], found["hypervolume"]) == ("integer programs", None)
        assert found["costs"] == whole["costs"]
        points = [(row[cost], row[key]) for row in found["networks"]]
        every = [(row[cost], row[key]) for row in whole["networks"]]
        assert 2 <= len(points) <= min(len(every), found["most_points"])
        assert points == sorted(points) and [one for _, one in points] == sorted({one for _, one in points})
        for row in found["networks"]:
            assert str(Architecture.from_index(row["index"], TINY)) == row["architecture"]
        if cost == "params":  # latencies are predicted otherwise where they are sums
            for one in (points[0], points[-1], *points):
                assert min(abs(one[1] - other) for price, other in every if price == one[0]) < 1e-9
            assert (points[0][0], points[-1][0]) == (every[0][0], every[-1][0])
    text = " ".join(run(path, *words).stdout.split())
    assert "Pareto front over synthetic predicted_val_top1 and params" in text
    assert "by integer programs with one limit on params after another" in text and "hypervolume" not in text
    refused(
        run(path, *("gcn" if word == "linear" else word for word in words)),
        "--predictor gcn predicts is no sum over blocks",
        "take one of linear, donna",
    )


@pytest.mark.slow
@pytest.mark.parametrize("predictor", ["sum", "linear", "gcn"])
def test_a_space_made_too_large_has_the_answer_that_enumeration_gives(
    tiny: tuple[Path, Path, Path], predictor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = GcnConfig(width=16, epochs=5)
    monkeypatch.setitem(fit.__kwdefaults__, "hyperparameters", small)  # type: ignore[arg-type]
    library, trained, path = tiny
    asked = ["--library", str(library), "--max-latency", "5.2ms", "--constraint", "memory<220KB"]
    asked += ["--predictor", predictor, *([] if predictor == "sum" else ["--trained", str(trained)])]
    listed = run(path, *METHOD, *QUICK, *asked, "--json")
    assert listed.status == 0, listed.stderr
    monkeypatch.setattr("space.config.MAX_ENUMERABLE", 1000)
    summed = run(path, *METHOD, *QUICK, *asked, "--json")
    assert summed.status == 0, summed.stderr
    before, after = listed.json, summed.json
    assert before["finalists_chosen_by"] == "enumeration"
    assert after["finalists_chosen_by"] == "integer program"
    assert 8 < before["networks_within_limits"] < len(TINY_BLOCKS) ** 2
    pool = {"networks": before["networks_within_limits"], "best_by_sum_of": "loss_change"}
    assert after["pool"] == (pool if predictor == "gcn" else None), "all within limits, as they are so few"
    assert after["predictor"]["leave_out"] == before["predictor"]["leave_out"]
    (key,) = (
        name
        for name in before["candidates"][0]
        if name.endswith(("_sum", "val_top1_percent")) and "plugged" not in name
    )
    scores = [sorted(one[key] for one in which["candidates"]) for which in (before, after)]
    # The graph network computes in float32, whose sums depend on the batch.
    exact = 1e-6 if predictor == "gcn" else 1e-9
    assert scores[1] == pytest.approx(scores[0], rel=exact)
    assert scores[0][0] < scores[0][-1]
    names = [{one["architecture"] for one in which["candidates"]} for which in (before, after)]
    assert names[0] == names[1]
    students = [which["students"][0]["costs"] for which in (before, after)]
    assert students[1]["made-up"]["value"] == pytest.approx(students[0]["made-up"]["value"], rel=1e-9)
    assert students[1]["made-up"]["source"] == students[0]["made-up"]["source"]
    assert students[1]["memory"] == students[0]["memory"]


def test_trainings_themselves_tell_the_accuracies_of_their_published_files(
    tiny: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = load_library(tiny[0])
    published = known_accuracies(tiny[1], library)
    assert published.epochs is not None and published.epochs.tolist() == [1] * len(published.indices)
    write_accuracies(tmp_path / "elsewhere", ["conv/conv"])
    assert known_accuracies(tmp_path / "elsewhere", library).epochs is None, "not told, and not made up"
    monkeypatch.setattr("space.config.MAX_ENUMERABLE", 1000)
    own = known_accuracies(tiny[1], library)
    assert own.indices.tolist() == published.indices.tolist()
    assert own.accuracies.tolist() == published.accuracies.tolist()
    assert own.epochs is not None and own.epochs.tolist() == published.epochs.tolist()
    with pytest.raises(ConfigError, match="holds no finished training of space 'tiny'"):
        known_accuracies(tmp_path, library)


def test_a_round_is_expected_to_take_what_its_largest_networks_would(tiny: tuple[Path, Path, Path]) -> None:
    library = load_library(tiny[0])

    task = load_task(library.teacher.source, TINY)
    setting: Any = SimpleNamespace(
        task=task, plan=SearchPlan(fine_tune=3), recipe=library.teacher.recipe, fit_networks=2
    )
    largest = int(all_macs(TINY).argmax())
    expected = library_flops(library.teacher, library, task) + (3 + 2) * tuning_flops(
        library.teacher, largest, setting
    )
    assert most(library.teacher, library, setting) == expected
