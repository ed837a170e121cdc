"""The view of trainings and distillations: epochs of all units in one bar, units by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.output.training_progress import TrainingView, run_shown
from search.work.results import Results
from search.work.running import Done, Failed, Tell
from search.work.unit import Unit
from space.errors import ConfigError, HarnessError

A, B = "0123456789ab", "ba9876543210"
NAMES = {A: "conv/conv", B: "stage 1"}


def told_of_a(epoch: int, epochs: int = 4) -> str:
    return f"finetune {A} (space tiny, task digits): conv/conv: epoch {epoch} of {epochs}, 50.0% right"


def told_of_b(first: int, last: int, epoch: int) -> str:
    return f"distil-stage {B} (space tiny): stage 1, blocks {first} to {last} of 45, epoch {epoch} of 2"


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")


def shown(text: str) -> str:
    """Return what is left without the terminal's codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_has_one_bar_over_the_epochs_of_all_units(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch)
    lines: list[str] = []
    with TrainingView(NAMES, 4, quiet=False, title="digits", line=lines.append) as view:
        for epoch in (1, 2, 3, 4):
            view.tell(told_of_a(epoch))
        view.tell(f"finetune {A} (space tiny, task digits) is done in 2.0 s, 1 of 2 units")
        view.tell(told_of_b(1, 15, 2))
        view.tell(told_of_b(16, 30, 2))  # two thirds of the stage's blocks: 8/3 of its 4 epochs
    *above, last = shown(capsys.readouterr().err).splitlines()
    assert last.startswith("digits ") and " 6/8 epochs " in last
    assert last.rstrip().endswith("stage 1, blocks 16 to 30 of 45, epoch 2 of 2")
    assert lines == [] and any("conv/conv is done in 2.0 s, 1 of 2 units" in line for line in above)


@pytest.mark.parametrize(
    ("columns", "end"), [(80, "0:00:00 left -:--:--"), (100, "left -:--:-- stage 1, blocks 1 to 15 of 45,…")]
)
def test_a_narrow_terminal_cuts_the_text_and_keeps_the_bar(
    columns: int, end: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    with TrainingView(NAMES, 4, quiet=False, title="distilling") as view:
        view.tell(told_of_b(1, 15, 2))
    last = shown(capsys.readouterr().err).splitlines()[-1]
    assert re.match("distilling [━╸╺]{24} 1/8 epochs ", last) and last.rstrip().endswith(end)


def test_every_epoch_counts_as_one_whatever_their_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(monkeypatch)
    with TrainingView({A: "conv/conv"}, 49, quiet=False, title="digits") as view:
        view.tell(told_of_a(1, 49))
    assert " 1/49 epochs " in shown(capsys.readouterr().err)


def test_elsewhere_the_last_epoch_and_some_others_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with TrainingView(NAMES, 4, quiet=False, title="digits", line=lines.append) as view:
        for epoch in (1, 2, 3, 4):
            view.tell(told_of_a(epoch))
        view.tell(f"finetune {A} (space tiny, task digits) is done in 2.0 s, 1 of 2 units")
    assert lines == [
        "conv/conv: epoch 1 of 4, 50.0% right",
        "conv/conv: epoch 4 of 4, 50.0% right",
        "conv/conv is done in 2.0 s, 1 of 2 units",
    ]
    assert capsys.readouterr().err == ""


def test_a_quiet_view_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for terminal in (False, True):
        if terminal:
            on_a_terminal(monkeypatch)
        with TrainingView(NAMES, 4, quiet=True, title="digits") as view:
            view.tell(told_of_a(4))
    assert capsys.readouterr().err == ""


class Failing:
    """A runner whose units all fail."""

    def run(self, units: Sequence[Unit], results: Results, tell: Tell) -> Iterator[Done | Failed]:
        for unit in units:
            yield Failed(unit=unit, message="a made-up fault", is_input=True, details="its traceback")


def test_an_error_calls_units_by_their_names_and_keeps_its_kind_and_notes(tmp_path: Path) -> None:
    units = [(f"stage {place}", Unit(kind="distil-stage", config={"stage": place})) for place in (0, 1)]
    lines: list[str] = []
    with pytest.raises(HarnessError) as raised:
        run_shown(units, 4, Results(folder=tmp_path), Failing(), quiet=False, title="x", line=lines.append)
    assert isinstance(raised.value, ConfigError)
    assert "stage 0: a made-up fault\nstage 1: a made-up fault" in str(raised.value)
    assert "distil-stage" not in str(raised.value) and raised.value.__notes__ == ["its traceback"] * 2
    assert lines == [f"stage {place} failed: a made-up fault" for place in (0, 1)]
