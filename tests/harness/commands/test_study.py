"""`harness study` around a made-up study: what it prints and writes, and what it refuses before any work."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from factories.finished_studies import LABEL, made_study, made_truth
from rigs.commands import Done, refused, run

from harness.output.plots.study import correlations_figure, study_regret_figure
from harness.output.study_text import FILES
from search.study.settings import QUICK, StudySettings
from search.study.study import Study
from search.study.truth import GroundTruth, load_truth
from space import TINY


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[StudySettings]:
    """Let the command find a made-up study; the settings that it asked with are kept."""
    kept: list[StudySettings] = []

    def found(settings: StudySettings, truth: GroundTruth, unit_runner: object) -> Study:
        kept.append(settings)
        return made_study(settings)

    monkeypatch.setattr("search.study.study.run_study", found)
    monkeypatch.setattr("search.study.study.load_truth", lambda config, paths: made_truth())
    return kept


def study(folder: Path, *arguments: str) -> Done:
    return run(folder / "store.sqlite", "study", "--output", str(folder / "out"), *arguments)


def test_people_read_tables_verdicts_and_answers_that_all_say_synthetic(
    tmp_path: Path, asked: list[StudySettings]
) -> None:
    done = study(tmp_path, "--quick")
    assert done.status == 0, done.stderr
    assert asked == [QUICK]
    lines = done.stdout.splitlines()
    titles = [line for line in lines if line.endswith(LABEL)]
    assert len(titles) == 6 + 6, "six tables and six answers"
    row = next(line for line in lines if line.startswith("seer"))
    assert row.split()[1] == "5" and row.rstrip().endswith("beats")
    assert next(line for line in lines if line.startswith("late")).rstrip().endswith("no answer yet")
    assert "at 10 trainings' worth: beats: seer" in lines
    assert "at 10 trainings' worth: no answer yet: late" in lines
    assert sum("not answered here" in line for line in lines) == 5
    assert any(line.startswith("question 4: Do they predict end to end? yes:") for line in lines)
    assert lines[-1] == "note: mind this"


def test_the_folder_holds_report_document_and_figures_whole(
    tmp_path: Path, asked: list[StudySettings]
) -> None:
    done = study(tmp_path, "--json")
    document = json.loads((tmp_path / "out" / "study.json").read_text())
    assert done.json == document
    assert asked == [StudySettings()]
    assert document["networks"] == LABEL
    named = [one["against_random"] for one in document["synthetic_standings"]["20"]]
    assert named == ["the baseline", "beats", "no answer yet"]
    numbers = ["study-regret.data.csv", "study-correlations.data.csv"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*FILES, *numbers])
    for name in FILES[2:]:
        data = (tmp_path / "out" / name).read_bytes()
        assert data.endswith(b"IEND\xaeB`\x82") and b"synthetic images" in data
    report = (tmp_path / "out" / "study.md").read_text()
    assert "what seer is \\| $x^2$" in report
    assert all(f"({name})" in report for name in FILES[2:])


def test_settings_come_from_a_file(tmp_path: Path, asked: list[StudySettings]) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"seeds": 12, "recipe": {"epochs": 3}}')
    assert study(tmp_path, "--settings", str(file)).status == 0
    assert asked[0] == dataclasses.replace(
        StudySettings(), seeds=12, recipe=dataclasses.replace(StudySettings().recipe, epochs=3)
    )
    refused(study(tmp_path, "--settings", str(file), "--quick"), "--quick has settings of its own")
    file.write_text('{"sedes": 1}')
    refused(study(tmp_path, "--settings", str(file)), "settings.json", "did you mean 'seeds'?")
    refused(study(tmp_path, "--settings", str(tmp_path / "none")), "cannot be read")


def test_bad_input_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(
        study(tmp_path, "--ground-truth", str(tmp_path / "blox-base-3.csv")),
        "blox-base-3.csv",
        "cannot be read",
    )
    refused(
        study(tmp_path, "--ground-truth", str(tmp_path)),
        "one blox-base file a seed is wanted",
        "harness train sample:120@0",
    )
    refused(study(tmp_path, "--jobs", "0"), "--jobs")
    (tmp_path / "out").write_text("")
    refused(study(tmp_path), "is a file; name a folder")
    monkeypatch.setattr("harness.output.plots.pictures.LIBRARIES", ("no_such_library",))
    refused(study(tmp_path), "pip install 'harness[report]'")


def test_figures_name_every_method_and_predictor_that_has_something_to_show() -> None:
    found = made_study(QUICK)
    texts = {text.get_text() for text in study_regret_figure(found).axes[0].texts}
    assert texts == {"random", "seer", "late"}
    drawn = correlations_figure(found).axes[0]
    assert [label.get_text() for label in drawn.get_yticklabels()] == ["MACs", "sum of nsr"], (
        "a constant has none"
    )
    assert "regret, points of synthetic test top-1" in {
        one.get_text() for one in study_regret_figure(found).texts
    }


def test_the_shipped_ground_truth_is_of_the_study_s_task_and_recipe() -> None:
    truth = load_truth(TINY)
    assert truth.label == "120 trained networks of tiny, synthetic images"
    settings = StudySettings()
    assert truth.dataset == settings.task.replace(":", "-").replace("/", "-")
    assert truth.epochs == settings.recipe.epochs
