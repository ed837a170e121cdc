"""`harness search --method blockwise`: what it refuses, answers and leaves; blocks are random, devices made up."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from factories.block_libraries import (
    APART,
    BLOCKS,
    DEVICE,
    made_library,
    made_stage,
    made_teacher,
    tiny_store,
    write_accuracies,
    write_library,
)
from factories.stores import add_sessions, calibrate, made_sessions, new_store, stored
from rigs.commands import Done, refused, run

import exporters
from exporters import Weights
from harness.blockwise.answer import _figures, commands, distil_recipes, model_document
from harness.commands.blockwise_options import BlockwiseOptions
from harness.devices.config import Device
from harness.measurement import campaigns
from harness.measurement.campaign import Outcome
from harness.measurement.plan import Options
from harness.models import exported
from harness.models.accuracy import ModelAccuracy, SplitAccuracy
from harness.models.exported import ModelFile
from harness.models.trained import Finished, FinishedModels
from harness.store import Store
from search.blockwise import iterated_search, rounds
from search.blockwise.setting import Setting
from search.distillation.block_library import BlockLibrary, load_library
from search.distillation.signatures import Signatures
from search.statistics import accuracy_interval
from search.training.images import Task
from search.training.tasks import load_task
from search.training.trained import Trained
from search.training.trained_files import KIND, trained_content
from search.work.local_pool import LocalPool
from search.work.ray_cluster import RayCluster
from search.work.results import ResultStore
from search.work.training_folder import training_units
from space import TINY, Architecture

METHOD = ("search", "--method", "blockwise")
LIMIT = "5ms"
QUICK = ("--measured-only", "--fine-tune", "0", "--finalists", "4")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_library(tmp_path_factory.mktemp("library") / "library")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    path.write_bytes(tiny_store())
    return path


def search(store: Path | str, library: Path, *more: str) -> Done:
    return run(store, *METHOD, "--library", str(library), "--device", "made-up", *QUICK, *more)


@pytest.fixture(scope="module")
def answered(library: Path, store: Path) -> Done:
    done = search(store, library, "--max-latency", LIMIT, "--json")
    assert done.status == 0, done.stderr
    return done


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [("--accuracies", "synthetic"), ("--budget", "9"), ("--top", "3"), ("--proxy-pool", "7")],
)
def test_options_of_other_methods_are_refused_by_name(
    library: Path, store: Path, option: str, value: str
) -> None:
    refused(search(store, library, option, value), f"{option} means nothing to --method blockwise")


@pytest.mark.parametrize(("option", "value"), [("--library", "x"), ("--fine-tune", "2"), ("--rounds", "2")])
def test_its_own_options_are_refused_with_other_methods(store: Path, option: str, value: str) -> None:
    done = run(store, "search", "-a", "synthetic", option, value)
    refused(done, f"{option} belongs to --method blockwise, not to 'exhaustive'")


def test_without_a_library_it_says_what_makes_one(store: Path, tmp_path: Path) -> None:
    refused(run(store, *METHOD), "--library", "'harness distill'")
    refused(search(store, tmp_path), "is no block library", "'harness distill'")


def test_a_library_with_a_stage_missing_names_the_stage_and_the_command(store: Path, tmp_path: Path) -> None:
    folder = write_library(tmp_path / "half", stages=[0])
    teacher = folder / "teacher.harness"
    refused(
        search(store, folder),
        "of 2 stages, 1 is not distilled",
        f"harness distill {teacher} --output {folder}",
    )


def test_a_device_measured_in_another_space_names_both_spaces_and_the_command(
    library: Path, tmp_path: Path
) -> None:
    path = tmp_path / "blox.sqlite"
    path.write_bytes(stored(segments=False))
    done = search(path, library, "--max-latency", LIMIT)
    refused(done, "has measurements of space 'blox', not of 'tiny'")
    refused(done, "harness measure --device made-up --space tiny --models design:1")


def test_a_device_without_measurements_names_the_command(library: Path, store: Path, tmp_path: Path) -> None:
    done = run(store, *METHOD, "--library", str(library), "-d", "pixel", "--max-latency", LIMIT)
    refused(done, "nothing is stored of device 'pixel' (stored: made-up)")
    refused(done, "harness measure --device pixel --space tiny")


def test_limits_that_nothing_meets_name_the_nearest_before_any_block_is_signed(
    library: Path, store: Path
) -> None:
    done = search(store, library, "--max-latency", "1us")
    refused(done, "no network is within made-up<=0.001ms; the nearest is", "times made-up<=0.001ms")
    assert "scoring" not in done.stderr


def test_a_predictor_that_needs_accuracies_asks_for_them(library: Path, store: Path) -> None:
    refused(
        search(store, library, "--predictor", "linear"), "--predictor linear", "--trained", "--fit fine-tuned"
    )
    few = ("--predictor", "donna", "--fit-networks", "3")
    refused(
        search(store, library, *few), "--fit-networks 3: predictor 'donna' needs 4 or more in space 'tiny'"
    )
    refused(search(store, library, "--pareto", "params"), "--pareto params", "knows no accuracies; add --fit")
    refused(search(store, library, "--predictor", "linera"), "did you mean 'linear'")


def test_accuracies_of_another_task_are_refused(library: Path, store: Path, tmp_path: Path) -> None:
    teacher, task = made_teacher(), load_task("synthetic:5:2/2/2", TINY)
    (unit,) = training_units([teacher.architecture], task, teacher.recipe)
    results = ResultStore(folder=tmp_path)
    results.record(unit, results.add(trained_content(teacher), KIND), 1.0, "here")
    done = search(store, library, "--trained", str(tmp_path))
    refused(done, "were trained on 'synthetic:5:2/2/2', the library's teacher on 'synthetic:0:6/4/4'")


def test_more_rounds_without_fine_tuning_are_refused(library: Path, store: Path) -> None:
    refused(search(store, library, "--rounds", "2"), "the next teacher is a network that was fine-tuned")


def test_jobs_threads_accelerator_and_cluster_train_its_finalists() -> None:
    local = BlockwiseOptions(jobs=3, job_threads=2, accelerator="cuda").workers.runner()
    assert local == LocalPool(processes=3, threads_each=2, device="cuda")
    cluster = BlockwiseOptions(ray="head:6379", job_threads=2, accelerator="cuda").workers.runner()
    assert cluster == RayCluster(address="head:6379", threads_each=2, device="cuda")


def test_an_address_that_is_no_cluster_s_is_refused_before_anything_is_signed(
    library: Path, store: Path
) -> None:
    done = search(store, library, "--max-latency", LIMIT, "--ray", "nowhere")
    refused(done, "Ray: address = 'nowhere'")
    assert "scoring" not in done.stderr


def test_an_output_that_is_there_is_left_alone(library: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "answer").mkdir()
    refused(search(store, library, "--output", str(tmp_path / "answer")), "is there already")
    refused(search(store, library, "--output", "/dev/null/answer"), "Not a directory")


# --- what is answered -----------------------------------------------------------------------------


def test_finalists_are_of_distilled_blocks_within_the_limit_best_first_by_their_weights(
    answered: Done,
) -> None:
    found = answered.json
    key = "synthetic_plugged_in_val_top1_percent"
    values = [one[key] for one in found["candidates"]]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    for one in found["candidates"]:
        assert set(Architecture.parse(one["architecture"], TINY).blocks) <= set(BLOCKS)
    assert 0 < found["networks_within_limits"] < len(BLOCKS) ** 2
    assert found["architecture"] == found["candidates"][0]["architecture"]
    assert 0 < found["costs"]["made-up"]["value"] <= 5
    assert found["costs"]["made-up"]["source"] in ("predicted", "measured with random weights")


def test_every_accuracy_on_made_up_images_says_so(answered: Done, library: Path, store: Path) -> None:
    text = json.dumps(answered.json)
    assert answered.json["task"]["synthetic"] is True
    assert text.count("_top1_percent") == text.count("synthetic_val_top1_percent") + text.count(
        "synthetic_test_top1_percent"
    ) + text.count("synthetic_plugged_in_val_top1_percent")
    lines = search(store, library, "--max-latency", LIMIT).stdout
    assert "synthetic val" in lines
    assert "synthetic validation images" in lines


def test_validation_and_test_accuracies_of_a_training_stand_under_their_own_names(library: Path) -> None:
    teacher = load_library(library).teacher
    trained = replace(teacher, test=replace(teacher.test, first=7))
    assert trained.best.val.top1 == 10.0
    assert _figures(trained.best.val, trained.test, False) == {
        "val_top1_percent": 10.0,
        "test_top1_percent": 17.5,
    }
    assert list(_figures(trained.best.val, trained.test, True)) == [
        "synthetic_val_top1_percent",
        "synthetic_test_top1_percent",
    ]


def test_a_model_file_has_its_own_accuracies_beside_the_networks() -> None:
    val = SplitAccuracy(images=200, torch_right=150, model_right=140, changed=20)
    test = SplitAccuracy(images=400, torch_right=280, model_right=290, changed=50)
    accuracy = ModelAccuracy(task="digits", val=val, test=test, synthetic=False)
    found = model_document(
        ModelFile(
            path=Path("folder/model-int8.onnx"),
            network=Architecture.parse("conv/conv/conv"),
            format="onnx",
            precision="int8",
            size_bytes=1,
            weights="trained",
            accuracy=accuracy,
        )
    )
    assert found["accuracy"] == {"val_top1_percent": 70.0, "test_top1_percent": 72.5}
    assert found["before"] == {"val_top1_percent": 75.0, "test_top1_percent": 70.0}
    assert found["images"] == {"val": 200, "test": 400}
    assert found["classed_otherwise"] == {"val": 20, "test": 50}


@pytest.mark.parametrize(
    ("signature", "key", "sign"),
    [("nsr", "synthetic_minus_nsr_sum", -1), ("agreement", "synthetic_agreement_sum", 1)],
)
def test_another_signature_ranks_the_networks_by_its_own_sum(
    library: Path, store: Path, signature: str, key: str, sign: int
) -> None:
    done = search(store, library, "--max-latency", "1s", "--signature", signature, "--json")
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["predictor"]["columns"] == [signature]
    path = next((library / "results").glob("signatures-*.json"))
    table = sign * Signatures.load(path).column(signature)
    for one in found["candidates"]:
        blocks = Architecture.parse(one["architecture"], TINY).blocks
        total = sum(table[stage, TINY.blocks.index(block)] for stage, block in enumerate(blocks))
        assert one[key] == pytest.approx(total)
    assert max(one[key] for one in found["candidates"]) == pytest.approx(np.nanmax(table, axis=1).sum())


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("--signature", "nrs"), "--signature 'nrs' is unknown; did you mean 'nsr'? (known: mse, nsr,"),
        (("--signature", "nsr", "--signature", "mse"), "name each once, and one alone for --predictor sum"),
        (("--predictor", "gcn", "--signature", "nsr", "--signature", "nsr"), "name each once"),
    ],
)
def test_a_signature_that_is_none_or_too_many_are_refused_before_anything_is_read(
    store: Path, tmp_path: Path, typed: tuple[str, ...], message: str
) -> None:
    refused(search(store, tmp_path / "nowhere", "--max-latency", LIMIT, *typed), message)


def test_the_table_says_what_each_student_costs_with_units(library: Path, store: Path) -> None:
    done = search(
        store, library, "--max-latency", LIMIT, "--constraint", "params<1M", "--constraint", "memory<9MB"
    )
    assert done.status == 0, done.stderr
    table = done.stdout[done.stdout.index("answers\n") :]
    assert re.search(r"made-up ms +interval +source +params +memory *\n", table)
    network, *cells = re.split(r"  +", table.splitlines()[2].strip())
    assert cells[-2] == f"{Architecture.parse(network, TINY).params / 1e3:.4g}k"
    assert re.fullmatch(r"[\d.]+KB", cells[-1])
    assert cells[-3].startswith("random weights, measured, grade ")


def test_the_answer_holds_what_repeats_it(answered: Done, library: Path) -> None:
    found = answered.json
    assert found["library"]["digest"] == made_library().digest
    assert found["library"]["folder"] == str(library)
    assert found["recipes"]["distil"][0]["epochs"] == 1
    assert found["seeds"]["search"] == 0
    assert {"harness", "python", "torch", "numpy"} <= set(found["versions"])
    assert [line.split()[:2] for line in found["commands"]] == [
        ["harness", "train"],
        ["harness", "distill"],
        ["harness", "search"],
    ]
    assert found["signatures"]["block_latencies"]["latency:made-up"].startswith("the additive part")
    assert f"--max-latency {LIMIT}" in found["commands"][-1]


@pytest.mark.parametrize(
    "url", ["me:secret@host/db", "me:se/secret@host/db", "me@host/db?password=secret&port=1"]
)
def test_passwords_do_not_stand_in_commands(url: str) -> None:
    argv = ("search", "--store", f"postgresql://{url}", "--output", "answer")
    told = commands(Path("library"), made_library(), argv, rounds=1)
    assert "secret" not in " ".join(told)
    assert "***" in told[-1] and "postgresql://me" in told[-1] and told[-1].endswith(" --output answer")


def test_stages_that_were_distilled_in_different_ways_have_a_command_and_a_recipe_each() -> None:
    library = made_library()
    first, second = (library.stage(place) for place in (0, 1))
    other = replace(second, recipe=replace(second.recipe, epochs=7), source="digits")
    mixed = replace(library, stages=(first, other))
    train, *distil = commands(Path("library"), mixed, (), rounds=1)
    assert train.startswith("harness train ")
    assert distil == [
        "harness distill TEACHER --recipe recipe-distil-0.json --stage 0 --output library",
        "harness distill TEACHER --recipe recipe-distil-1.json --stage 1 --task digits --output library",
    ]
    assert [one[0].recipe.epochs for one in distil_recipes(mixed).values()] == [1, 7]
    assert list(distil_recipes(library)) == ["recipe-distil.json"]


def test_blocks_are_signed_once(answered: Done, library: Path, store: Path) -> None:
    again = search(store, library, "--max-latency", LIMIT, "--json")
    assert "scoring" not in again.stderr
    assert again.json["signatures"] == answered.json["signatures"]
    assert again.json["candidates"] == answered.json["candidates"]


def test_without_an_output_nothing_is_written_and_it_says_how_to(answered: Done) -> None:
    assert "--output FOLDER exports it" in answered.stderr
    assert "files" not in answered.json


def test_a_predictor_fitted_to_accuracies_tells_its_error(library: Path, store: Path, tmp_path: Path) -> None:
    names = [f"{first}/{second}" for first in BLOCKS[:3] for second in BLOCKS[:4]]
    write_accuracies(tmp_path / "trained", names)
    done = search(store, library, "--trained", str(tmp_path / "trained"), "--json")
    assert done.status == 0, done.stderr
    predictor = done.json["predictor"]
    assert (predictor["name"], predictor["fitted_to"]) == ("linear", len(names))
    assert predictor["leave_out"]["n"] == len(names)
    assert predictor["leave_out"]["mae"]["value"] > 0
    for one in done.json["candidates"]:
        predicted = one["synthetic_predicted_val_top1_percent"]
        low, high = (one[f"synthetic_predicted_val_top1_{end}_percent"] for end in ("low", "high"))
        assert low <= predicted <= high
    told = search(store, library, "--trained", str(tmp_path / "trained")).stdout
    assert f"fitted to {len(names)} networks" in told
    assert "each left out" in told


# --- fine-tuning and rounds -----------------------------------------------------------------------


@pytest.fixture
def redistilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other random blocks for each seed, in place of distilling."""

    def distilled(teacher: Trained, like: BlockLibrary, setting: Setting, *, added_seed: int) -> BlockLibrary:
        stages = tuple(made_stage(teacher, place, seed=added_seed) for place in (0, 1))
        return BlockLibrary(teacher=teacher, stages=stages)

    monkeypatch.setattr(rounds, "distilled", distilled)


def test_several_seeds_answer_with_the_best_by_validation_and_two_intervals(
    redistilled: None, store: Path, tmp_path: Path
) -> None:
    library = write_library(tmp_path / "library", source=APART)
    asked = (library, "--max-latency", LIMIT, "--seeds", "2")
    found, text = search(store, *asked, "--json").json, search(store, *asked).stdout
    assert found["task"]["images"] == {"profile": 100, "rescore": 100, "epochs": 100, "test": 100}
    assert found["task"]["images_apart"] is True
    runs = found["runs"]
    assert [run["added_seed"] for run in runs] == [0, 1] and len({run["library"] for run in runs}) == 2
    val, test = "synthetic_val_top1_percent", "synthetic_test_top1_percent"
    best = max(runs, key=lambda run: run[val])
    assert [run for run in runs if run["incumbent"]] == [best]
    accuracy = found["accuracy"]
    assert (found["architecture"], accuracy[test]) == (best["architecture"], best[test])
    assert found["seeds"]["added"] == found["seeds"]["search"] == best["added_seed"]
    of_images, of_seeds = accuracy["synthetic_test_interval"], accuracy["synthetic_test_between_seeds"]
    exact = accuracy_interval(round(best[test]), 100)
    assert (of_images["low"], of_images["high"]) == (exact.low, exact.high)
    assert of_seeds["value"] == pytest.approx(np.mean([run[test] for run in runs])) and of_seeds["count"] == 2
    assert f"{best['added_seed']} (chosen)" in text
    assert (
        f"synthetic test {exact.value:.2f} ({exact.low:.2f} .. {exact.high:.2f}) %, 95 % over images" in text
    )
    assert f"synthetic test {of_seeds['value']:.2f}" in text and "95 % over 2 seeds" in text
    assert "100 profile blocks, 100 re-score networks, 100 choose epochs, 100 test, each apart" in text
    assert "for images of their own" not in text


def test_a_library_of_before_says_that_one_split_served_all_and_what_gives_each_its_own(
    library: Path, store: Path, answered: Done
) -> None:
    text = search(store, library, "--max-latency", LIMIT).stdout
    assert "40 validation images profile blocks, re-score networks and choose epochs, all three" in text
    assert "train the teacher with --task synthetic:0:6/4/4+split:0" in text
    assert answered.json["task"]["images_apart"] is False
    assert answered.json["accuracy"]["synthetic_test_between_seeds"]["low"] is None, "of one seed"


@pytest.mark.long
@pytest.mark.training
def test_each_round_s_winner_teaches_the_next_and_the_same_command_trains_nothing_again(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iterated_search, "noise_of", lambda pair: -100.0)  # so few images tell nothing
    taught = []

    def remade(teacher: Trained, like: BlockLibrary, setting: Setting) -> BlockLibrary:
        taught.append(str(teacher.architecture))
        return BlockLibrary(teacher=teacher, stages=tuple(made_stage(teacher, place) for place in (0, 1)))

    monkeypatch.setattr(rounds, "distilled", remade)
    own = write_library(tmp_path / "library")
    more = (
        "--measured-only",
        "--finalists",
        "2",
        "--fine-tune",
        "1",
        "--fine-tune-epochs",
        "1",
        "--rounds",
        "2",
    )
    arguments = (*METHOD, "--library", str(own), "-d", "made-up", "--max-latency", LIMIT, *more, "--json")
    shown = run(store, *arguments[:-1])
    assert shown.status == 0, shown.stderr
    units = own / "results" / "units"
    kept = {path.name: path.stat().st_mtime_ns for path in units.iterdir()}
    assert len(kept) == 2, "a fine-tuning in each round"
    assert len(taught) == 1, "the first round's library is there already"
    done = run(store, *arguments)
    assert {path.name: path.stat().st_mtime_ns for path in units.iterdir()} == kept
    first, second = done.json["rounds"]["rounds"]
    assert first["teacher"] == "conv/conv"
    assert second["teacher"] == first["winner"]
    assert first["notes"]["library"] == made_library().digest
    assert second["notes"]["library"] not in ("", first["notes"]["library"])
    assert taught[0] == second["teacher"]
    assert 0 < first["flops"] < done.json["rounds"]["flops"]
    assert done.json["accuracy"]["fine_tuned"] is not None
    assert done.json["architecture"] in shown.stdout
    right = done.json["accuracy"]["synthetic_test_top1_percent"]
    assert f"synthetic test {right:.2f} (" in shown.stdout
    assert "all 2 rounds are done" in shown.stderr
    assert f"\n{first['winner']}: epoch 1 of 1, " in shown.stderr and "finetune " not in shown.stderr


def test_a_budget_below_a_round_is_refused_with_what_a_round_takes(library: Path, store: Path) -> None:
    done = run(
        store,
        *METHOD,
        "--library",
        str(library),
        "--measured-only",
        "--fine-tune",
        "1",
        "--max-flops",
        "1000",
    )
    refused(done, "one round can take", "1e+03 are allowed")


def test_a_recipe_of_ones_own_is_what_is_fine_tuned_with(library: Path, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"epochs": 1, "batch": 30, "lerning_rate": 0.1}')
    refused(search(store, library, "--fine-tune-recipe", str(path)), str(path), "learning_rate")
    path.write_text('{"epochs": 1, "batch": 30, "learning_rate": 0.1}')
    done = search(store, library, "--fine-tune-recipe", str(path), "--json")
    assert done.status == 0, done.stderr
    assert done.json["recipes"]["fine_tune"]["batch"] == 30


# --- finished networks, measured ------------------------------------------------------------------


class Bench:
    """Stands where campaigns run: a finished network takes what `factor` says of the space's rule, by its place in the source."""

    def __init__(self, *factors: float) -> None:
        self.factors, self.options = factors, [Options()]
        self.gate: dict[str, Any] = {"closed": [], "waited_s": 0.0}  # of the sessions
        self.uses: list[Any] = []

    def run_all(
        self,
        chosen: Sequence[tuple[Device, Options]],
        source: FinishedModels,
        store: Store,
        *rest: object,
        wait_s: float,
    ) -> list[Outcome]:
        ((_, options),) = chosen
        self.options.append(options)
        for number, (one, factor) in enumerate(zip(source._finished, self.factors, strict=False)):
            add_finished(store, one, factor, number, gate=self.gate)
        return [Outcome(device="made-up", uses=self.uses)]


def add_finished(store: Store, one: Finished, factor: float, number: int, **changes: Any) -> None:
    """Store made-up sessions of a finished network under its own key."""
    twist = (factor - 1) / np.sin(one.architecture.index)
    for session in made_sessions([one.architecture], DEVICE, sessions=2, twist=twist, seed=number, **changes):
        named = {"graph_hash": one.key(DEVICE.precision), "purpose": "trained", "model_digest": one.digest}
        store.add_session(replace(session, session_id=str(uuid.uuid4()), **named))


@pytest.fixture
def own_store(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    path.write_bytes(tiny_store())
    (tmp_path / "devices.toml").write_text('[devices.made-up]\ntransport = "local"\n')
    return path


@pytest.fixture
def teach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fine-tuning leave a network as it was, so that two students are there to be measured."""

    def tuner(library: Any, setting: Any) -> Callable[..., list[Any]]:
        return lambda networks: [
            replace(library.teacher, architecture=one, weights=library.assemble(one)) for one in networks
        ]

    monkeypatch.setattr(rounds, "fine_tuner", tuner)


def verify(store: Path, library: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch, *more: str) -> Done:
    monkeypatch.setattr(campaigns, "run_all", bench.run_all)
    devices = str(store.parent / "devices.toml")
    return run(
        store,
        *(*METHOD, "--library", str(library), "-d", "made-up", "--max-latency", LIMIT, "--finalists", "4"),
        "--measured-only",
        *("--fine-tune", "2", "--verify", "2", "--devices", devices, "--json", *more),
    )


@pytest.mark.usefixtures("teach")
def test_the_finished_network_itself_is_measured_and_one_beyond_the_limit_is_not_the_answer(
    own_store: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(40.0, 1.0)
    done = verify(own_store, library, bench, monkeypatch)
    assert done.status == 0, done.stderr
    found = done.json
    first, second = found["students"]
    assert first["costs"]["made-up"]["value"] > 5
    assert found["architecture"] == second["architecture"]
    cost = found["costs"]["made-up"]
    assert cost["source"] == "measured with the weights of this answer"
    assert cost["value"] <= 5
    assert cost["low"] < cost["value"] < cost["high"]
    assert cost["grade"] in "ABCD"
    assert cost["before"]["source"] != cost["source"]
    assert found["within_limits"] is True
    assert bench.options[-1].level.name == "final"
    assert "not within the limits" in done.stderr


@pytest.mark.usefixtures("teach")
def test_where_no_finished_network_is_within_the_limits_the_answer_says_so_and_the_status_is_not_0(
    own_store: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = verify(own_store, library, Bench(40.0, 40.0), monkeypatch)
    assert done.status == 1
    assert done.json["within_limits"] is False
    assert "none of the networks measured is within the limits" in done.stderr


@pytest.mark.usefixtures("teach")
def test_a_finished_network_measured_with_grade_d_is_not_verified_unless_that_is_taken_in(
    own_store: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(1.0, 1.0)
    bench.gate = {"closed": ["made-up heat"], "waited_s": 300.0}
    done = verify(own_store, library, bench, monkeypatch)
    assert (done.status, done.json["within_limits"]) == (1, False)
    assert "made-up: 2 networks of grade D left out" in done.stderr
    taken = verify(own_store, library, Bench(), monkeypatch, "--doubtful")
    assert taken.json["costs"]["made-up"]["grade"] == "D", "those of before are stored"
    assert "made-up: 2 networks of grade D taken in" in taken.stderr


@pytest.mark.usefixtures("teach")
def test_a_network_that_could_not_be_measured_is_not_verified(
    own_store: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = verify(own_store, library, Bench(), monkeypatch)
    assert done.json["within_limits"] is False
    assert "made-up not measured well enough: not known to be within the limits" in done.stderr


@pytest.mark.usefixtures("teach")
def test_a_device_that_measures_under_another_configuration_by_now_is_told_and_the_answer_kept(
    own_store: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    bench.uses = [SimpleNamespace(configuration=replace(DEVICE, runtime_version="1.1"))]
    done = verify(own_store, library, bench, monkeypatch)
    assert (done.status, done.json["within_limits"]) == (1, False), done.stderr
    assert "device 'made-up' measures under another configuration now" in done.stderr
    assert done.json["architecture"] == done.json["students"][0]["architecture"]


def test_sessions_of_a_finished_network_are_never_merged_with_those_of_random_weights(
    own_store: Path,
) -> None:
    store = Store(str(own_store))
    before = store.session_counts(DEVICE)
    one = Finished(
        architecture=Architecture.from_hash(next(iter(before)), TINY), path=Path("x"), digest="d" * 64
    )
    add_finished(store, one, 1.0, 0)
    assert store.session_counts(DEVICE) == before
    assert store.session_counts(DEVICE, "trained") == {one.key(DEVICE.precision): 2}
    store.close()


# --- the folder -----------------------------------------------------------------------------------


def test_a_folder_is_not_there_at_all_when_a_model_cannot_be_made(
    library: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise exporters.ConversionError("a made-up converter failed")

    monkeypatch.setattr(exporters, "standalone", fail)
    done = search(store, library, "--output", str(tmp_path / "answer"))
    assert done.status == 4
    assert "a made-up converter failed" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def int8_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, device = tmp_path_factory.mktemp("store") / "int8.sqlite", replace(DEVICE, precision="int8")
    store = new_store(path)
    calibrate(store, device)
    networks = [Architecture(blocks=both, config=TINY) for both in product(BLOCKS[:3], repeat=TINY.stages)]
    add_sessions(store, networks, device, sessions=2)
    store.close()
    return path


@pytest.mark.parametrize("document", ["text", "json"])
def test_a_search_in_int8_ends_with_a_calibrated_file_and_what_it_loses(
    document: str, library: Path, int8_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[tuple[str, str], Weights] = {}

    def standalone(_: Architecture, model_format: str, **given: Any) -> bytes:
        made[given["precision"], model_format] = given["weights"]
        return b"a model"

    def measured(_: bytes, __: str, ___: Architecture, weights: Weights, task: Task) -> ModelAccuracy:
        assert weights == made["int8", "onnx"]
        val = SplitAccuracy(images=40, torch_right=30, model_right=29, changed=3)
        test = SplitAccuracy(images=40, torch_right=31, model_right=32, changed=2)
        return ModelAccuracy(task=task.name, synthetic=task.synthetic, val=val, test=test)

    monkeypatch.setattr(exporters, "standalone", standalone)
    monkeypatch.setattr(exported, "measure_accuracy", measured)
    options = ("--output", str(tmp_path / "answer"), *(["--json"] if document == "json" else []))
    done = search(int8_store, library, *options)
    assert done.status == 0, done.stderr
    calibrated = {kind: one.checkpoint and one.checkpoint.calibration for kind, one in made.items()}
    assert [kind for kind, images in calibrated.items() if images] == [("int8", "onnx")]
    answer = json.loads((tmp_path / "answer" / "answer.json").read_text())
    *plain, quantized = answer["models"]
    assert [one["file"] for one in plain] == ["model.onnx", "model.tflite"]
    assert quantized == {
        "file": "model-int8.onnx",
        "format": "onnx",
        "precision": "int8",
        "accuracy": {"synthetic_val_top1_percent": 72.5, "synthetic_test_top1_percent": 80.0},
        "before": {"synthetic_val_top1_percent": 75.0, "synthetic_test_top1_percent": 77.5},
        "images": {"val": 40, "test": 40},
        "classed_otherwise": {"val": 3, "test": 2},
    }
    assert "model-int8.onnx" in answer["files"]
    assert "int8 onnx loses 2.50 points on validation images" in done.stderr
    if document == "json":
        assert done.json == answer
    else:
        assert "top-1 in % on synthetic images" in done.stdout and "int8 onnx" in done.stdout
        assert re.search(r"validation +40 +75\.00 +72\.50 +\+2\.50 +3", done.stdout)
