"""The whole study on a space of 36 networks and a made-up ground truth: every part runs, is told of, and is not run twice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from factories.studies import SMALL, with_small_space, write_small_truth
from factories.truths import write_truth

from search.study.candidates import SIGNED, SUMS
from search.study.questions import NOT_ANSWERED
from search.study.report import to_document, to_markdown
from search.study.settings import StudySettings
from search.study.study import Study, run_study
from search.study.tables import all_tables, verdicts
from search.study.truth import GroundTruth, load_truth
from search.study.unit_runner import UnitRunner
from search.work.events import OnProgress
from search.work.local_pool import LocalPool
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Done, Failed
from space import TINY
from space.errors import ConfigError

pytestmark = pytest.mark.training


class Idle:
    """A runner that has nothing to do, or the test fails."""

    def run(
        self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress
    ) -> Iterator[Done | Failed]:
        raise AssertionError(f"{len(units)} units are run again, the first {units[0]}")


@pytest.fixture(scope="module")
def settings() -> Iterator[StudySettings]:
    with pytest.MonkeyPatch.context() as patch:
        yield with_small_space(patch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def truth(folder: Path) -> GroundTruth:
    return load_truth(SMALL, [write_small_truth(folder)])


def unit_runner(folder: Path, idle: bool = False) -> UnitRunner:
    runner = Idle() if idle else LocalPool()
    return UnitRunner(results=ResultStore(folder=folder / "results"), runner=runner, log=lambda text: None)


@pytest.fixture(scope="module")
def found(settings: StudySettings, truth: GroundTruth, folder: Path) -> Study:
    return run_study(settings, truth, unit_runner(folder))


@pytest.fixture(scope="module")
def short(settings: StudySettings, truth: GroundTruth, folder: Path) -> Study:
    """Return a study of one library alone."""
    less = dataclasses.replace(settings, tuned=0, iterations=0, lana={}, dna={})
    return run_study(less, truth, unit_runner(folder))


def test_blocks_of_a_library_are_methods_and_predictors_of_a_study(short: Study) -> None:
    blockwise = {"supernet", "lana", "lana-rescored", "donna", "donna-linear", "blockwise-gcn"}
    plain = {"random", "evolution", "linear", "gcn", "synflow"}
    assert {method.method for method in short.methods} == plain | blockwise
    assert {f"sum of {column}" for column in SUMS} <= set(short.blockwise) <= set(short.correlations)
    answered = {answer.number for answer in short.answers if answer.sentence != NOT_ANSWERED}
    assert answered == {3, 4}  # of what blocks of a library promise, and of which predictor to believe


@pytest.mark.long
def test_every_method_has_runs_that_pay_for_what_they_use(found: Study) -> None:
    methods = {method.method: method for method in found.methods}
    plain = ["random", "evolution", "linear", "gcn"]
    blockwise = [
        "supernet",
        "lana",
        "lana-rescored",
        "donna",
        "donna-linear",
        "blockwise-gcn",
        "donna-tuned",
        "dna-published",
        "lana-published",
        "donna-published",
        "iteration",
    ]
    assert set(methods) == {*plain, "synflow", *blockwise}
    for name, method in methods.items():
        for run in method.runs:
            assert (np.diff(run.flops) > 0).all() and (np.diff(run.networks) == 1).all(), name
            assert np.isfinite(run.seconds).all() and (run.regret >= 0).all(), name
            assert run.networks[0] == {"donna-tuned": 6, "donna-published": 6}.get(
                name, 1 if name in (*plain, "synflow", "iteration") else 2
            )
    first = {name: method.runs[0].flops[0] / found.unit_flops for name, method in methods.items()}
    assert (
        first["random"]
        < first["synflow"]
        < first["lana"]
        < first["lana-rescored"] * 1.5
        < first["donna-tuned"] * 1.5
    )
    assert len(methods["iteration"].runs[0].flops) == 2  # the random teacher and the one round's winner


@pytest.mark.long
def test_every_predictor_is_judged_by_networks_that_it_was_not_fitted_to(found: Study) -> None:
    assert {f"sum of {column}" for column in SUMS} <= set(found.blockwise) <= set(found.correlations)
    assert {f"{name} on signatures, 6 trained" for name in SIGNED} <= set(found.blockwise)
    tau, rho = found.correlations["validation accuracy, trained"]
    assert tau.low > 0.3 and rho.value > tau.value


@pytest.mark.long
def test_all_six_questions_are_answered_from_what_was_run(found: Study) -> None:
    assert [answer.number for answer in found.answers] == [1, 2, 3, 4, 5, 6]
    assert all(answer.sentence != NOT_ANSWERED and answer.rows for answer in found.answers)
    assert "one run decides nothing" in found.answers[5].sentence
    assert "too few networks to tell" in found.answers[4].sentence


@pytest.mark.long
def test_every_table_says_of_which_networks_it_speaks(found: Study) -> None:
    label = "20 trained networks of small-study, synthetic images"
    tables = all_tables(found)
    assert len(tables) == 11
    for table in tables:
        assert table.title.endswith(label)
        assert all(len(row) == len(table.columns) for row in table.rows)
    regret = tables[0]
    assert regret.columns[2:5] == ("at 4", "at 8", "at 12")
    assert regret.rows[0][-1] == "the baseline"
    assert {row[-1] for row in regret.rows[1:]} <= {"too few runs", "no answer yet"}, (
        "two seeds decide nothing"
    )
    assert any("too few runs: evolution" in line for line in verdicts(found))


def test_the_document_is_json_and_synthetic_values_are_named_so(short: Study) -> None:
    document = json.loads(json.dumps(to_document(short), allow_nan=False))
    for key in ("synthetic_standings", "synthetic_rank_correlations", "synthetic_answers"):
        assert document[key]
    run = document["methods"][0]["runs"][0]
    assert len(run["synthetic_regret_points"]) == len(run["flops"]) == 12
    assert StudySettings.from_json(json.dumps(document["settings"])) == short.settings
    text = to_markdown(short, ["figure.png"])
    assert text.count("synthetic images") >= 9
    assert "![figure.png](figure.png)" in text and short.truth.digest in text
    assert "nan" not in text.replace("finance", "")


def test_a_study_that_is_done_is_told_again_without_work(
    short: Study, truth: GroundTruth, folder: Path
) -> None:
    again = run_study(short.settings, truth, unit_runner(folder, idle=True))
    assert to_document(again) == to_document(short)


def test_what_was_left_out_is_not_answered(
    short: Study, settings: StudySettings, truth: GroundTruth, folder: Path
) -> None:
    less = dataclasses.replace(settings, libraries=0, tuned=0, iterations=0)
    told = run_study(less, truth, unit_runner(folder, idle=True))
    assert [answer.sentence for answer in told.answers] == [NOT_ANSWERED] * 6
    assert {method.method for method in told.methods} == {"random", "evolution", "linear", "gcn", "synflow"}
    assert len(all_tables(told)) == 5
    assert to_markdown(told).count(NOT_ANSWERED) == 6


@pytest.mark.long
def test_a_method_that_too_few_fine_tuned_networks_can_be_fitted_to_is_left_out_with_a_note(
    found: Study, settings: StudySettings, truth: GroundTruth, folder: Path
) -> None:
    told = run_study(dataclasses.replace(settings, tuned=3), truth, unit_runner(folder))
    left_out = {one.method for one in found.methods} - {one.method for one in told.methods}
    assert left_out == {"donna-published"}
    note = "donna-published is left out: in space 'small-study' it is fitted to 4 fine-tuned networks or more, and there are 3"
    assert note in to_markdown(told) and "is left out" not in to_markdown(found)


def test_a_study_of_real_images_does_not_say_that_they_are_made_up(tmp_path: Path, short: Study) -> None:
    truth = dataclasses.replace(load_truth(TINY, [write_truth(tmp_path)]), dataset="digits")
    plain = StudySettings(task="digits", seeds=1, libraries=0, tuned=0, iterations=0, proxies=())
    text = to_markdown(run_study(plain, truth, unit_runner(tmp_path)))
    assert "larger networks, other images or another space" in text and "synthetic images" not in text
    assert "and that trained the ground truth, which may differ" in text
    assert f"300 images, {truth.test.mean():.1f} % in the mean" in text, "not that of whole images"
    assert "larger networks, real images or another space" in to_markdown(short)


def test_a_ground_truth_of_another_task_and_a_guide_that_is_none_are_refused_at_once(
    settings: StudySettings, truth: GroundTruth, folder: Path
) -> None:
    other = dataclasses.replace(settings, task="synthetic:1:6/4/5")
    with pytest.raises(ConfigError, match="was trained on 'synthetic-0-6-4-5'"):
        run_study(other, truth, unit_runner(folder, idle=True))
    for guide, message in (
        ({"wieght": 0.5}, "guide: wieght = 0.5; give numbers for"),
        ({"weight": 0}, "guide: weight = 0; give"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_study(dataclasses.replace(settings, guide=guide), truth, unit_runner(folder, idle=True))
    with pytest.raises(ConfigError, match="is of space 'small-study', the study of 'tiny'"):
        run_study(
            dataclasses.replace(settings, space="tiny", task="synthetic:0:1/1/1"), truth, unit_runner(folder)
        )
