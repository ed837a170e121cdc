"""The view of trainings and distillations: epochs of all units in one bar, units by their names."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe
from pathlib import Path

import pytest
from rigs.terminals import screen

from harness.output import training_progress
from harness.output.terminal import console
from harness.output.training_progress import TrainingView
from search.training.history import EpochDone, Figures
from search.work.events import (
    Event,
    OnProgress,
    UnitAgain,
    UnitDone,
    UnitFailed,
    UnitProgress,
    UnitsFound,
    UnitStarted,
)
from search.work.kinds import Message
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import Done, Failed, NamedUnits, run_watched
from space.errors import ConfigError, HarnessError

A, B = (Unit(kind="distil-stage", config={"stage": stage}) for stage in (0, 1))
NAMES = {A.key: "conv/conv", B.key: "stage 1"}


def epoch_of_a(number: int, epochs: int = 4) -> Event:
    val = Figures(images=100, loss=1.0, first=50, among_five=90)
    return UnitProgress(unit=A, step=EpochDone(number=number, epochs=epochs, val=val))


def epoch_of_b(first: int, last: int, number: int) -> Event:
    step = EpochDone(number=number, epochs=2, first=first - 1, blocks=last - first + 1, of=45)
    return UnitProgress(unit=B, step=step)


DONE = UnitDone(unit=A, seconds=2.0, done=1, units=2)


class Terminal(io.StringIO):
    """Text that counts as a terminal."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 160) -> Terminal:
    """Return a terminal that is standard error from now on."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stderr", terminal)
    return terminal


def shown(terminal: Terminal) -> list[str]:
    """Return the lines that stand on a terminal."""
    return [line for line in screen(terminal.getvalue()) if line]


def test_a_terminal_has_one_bar_over_the_epochs_of_all_units(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_a_terminal(monkeypatch)
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="digits")) as view:
        for epoch in (1, 2, 3, 4):
            view(epoch_of_a(epoch))
        view(DONE)
        view(epoch_of_b(1, 15, 2))
        view(epoch_of_b(16, 30, 2))  # two thirds of the stage's blocks: 8/3 of its 4 epochs
    *above, last = shown(terminal)
    assert last.startswith("digits ") and " 6/8 epochs " in last
    assert last.rstrip().endswith("stage 1: blocks 16 to 30 of 45, epoch 2 of 2")
    assert any("conv/conv is done in 2.0 s, 1 of 2 units" in line for line in above)


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (40, "distilling 1/8 0:00:00 stage 1: blocks …"),
        (80, "distilling ━━━───────────────────── 1/8 epochs 0:00:00 stage 1: blocks 1 to 15 …"),
        (
            120,
            "distilling ━━━───────────────────── 1/8 epochs 0:00:00 stage 1: blocks 1 to 15 of 45, epoch 2 of 2",
        ),
    ],
)
def test_a_narrow_terminal_cuts_the_text_and_keeps_the_count(
    columns: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_a_terminal(monkeypatch, columns)
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="distilling")) as view:
        view(epoch_of_b(1, 15, 2))
    assert shown(terminal) == [line]


def test_a_log_has_a_line_each_half_minute_with_epochs_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(training_progress.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr("rich.console.monotonic", lambda: now_s[0])
    told = []
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="digits")) as view:
        for epoch in (1, 2):
            now_s[0] += 20
            view(epoch_of_a(epoch))
            told += view.due()
    assert told == [
        "digits: 2 of 8 epochs, 0:00:40 so far, 0:02:00 left: " + capsys.readouterr().err.splitlines()[-1]
    ]


def test_every_epoch_counts_as_one_whatever_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_a_terminal(monkeypatch)
    with TrainingView(NamedUnits(names={A.key: "conv/conv"}, epochs=49, title="digits")) as view:
        view(epoch_of_a(1, 49))
    assert " 1/49 epochs " in "\n".join(shown(terminal))


def test_a_unit_that_is_done_counts_in_full_whatever_it_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_a_terminal(monkeypatch)
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="digits")) as view:
        view(DONE)
    assert " 4/8 epochs " in "\n".join(shown(terminal))


def test_elsewhere_the_last_epoch_and_some_others_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="digits")) as view:
        for epoch in (1, 2, 3, 4):
            view(epoch_of_a(epoch))
        view(DONE)
    assert capsys.readouterr().err.splitlines() == [
        "conv/conv: epoch 1 of 4, 50.0% of validation images right",
        "conv/conv: epoch 4 of 4, 50.0% of validation images right",
        "conv/conv is done in 2.0 s, 1 of 2 units",
    ]


def test_a_unit_that_begins_is_named_beside_the_bar_and_told_again_if_it_is_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = UnitAgain(unit=B, reason="its process was killed by SIGKILL")
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="digits")) as view:
        view(UnitStarted(unit=A))
        view(again)
    assert capsys.readouterr().err == "stage 1 is computed again: its process was killed by SIGKILL\n"
    terminal = on_a_terminal(monkeypatch)
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="digits")) as view:
        view(UnitStarted(unit=B))
    assert shown(terminal)[-1].endswith(" stage 1")


def test_a_notebook_has_the_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="digits")) as view:
        view(epoch_of_a(4))
        view(DONE)
    assert capsys.readouterr().err.splitlines() == [
        "conv/conv: epoch 4 of 4, 50.0% of validation images right",
        "conv/conv is done in 2.0 s, 1 of 2 units",
    ]


def test_events_travel_between_processes() -> None:
    here, there = Pipe()
    failed = UnitFailed(unit=B, message="a made-up fault")
    for event in (
        UnitStarted(unit=A),
        epoch_of_a(1),
        epoch_of_b(1, 15, 2),
        DONE,
        failed,
        Message(text="waiting"),
    ):
        here.send(event)
        assert there.recv() == event


@pytest.mark.parametrize("terminal", [False, True])
def test_a_quiet_view_says_nothing(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = on_a_terminal(monkeypatch) if terminal else io.StringIO()
    monkeypatch.setattr(console, "is_quiet", True)
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="digits")) as view:
        view(epoch_of_a(4))
        assert view.due() == []
    assert capsys.readouterr().err + written.getvalue() == ""


class Failing:
    """A runner whose units all fail."""

    def run(
        self, units: Sequence[Unit], results: ResultStore, on_progress: OnProgress
    ) -> Iterator[Done | Failed]:
        for unit in units:
            yield Failed(unit=unit, message="a made-up fault", is_input=True, details="its traceback")


def test_a_unit_with_a_result_from_before_counts_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_a_terminal(monkeypatch)
    with TrainingView(NamedUnits(names=NAMES, epochs=4, title="digits")) as view:
        view(UnitsFound(keys=frozenset([B.key]), units=2))
        view(epoch_of_a(1))
    lines = "\n".join(shown(terminal))
    assert " 5/8 epochs " in lines and "1 of 2 units done already" in lines


def test_results_from_before_took_no_time_and_do_not_shorten_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr(training_progress.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr("rich.console.monotonic", lambda: now_s[0])
    others = {f"other {number}": f"other {number}" for number in range(20)}
    with TrainingView(NamedUnits(names=NAMES | others, epochs=4, title="digits")) as view:
        view(UnitsFound(keys=frozenset(others), units=22))
        for epoch in (1, 2):
            now_s[0] += 20
            view(epoch_of_a(epoch))
        (told,) = view.due()
    assert told.startswith("digits: 82 of 88 epochs, 0:00:40 so far, 0:02:00 left")


def test_an_error_calls_units_by_their_names_and_keeps_its_kind_and_notes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    units = [(f"stage {place}", Unit(kind="distil-stage", config={"stage": place})) for place in (0, 1)]
    watch = TrainingView
    with pytest.raises(HarnessError) as raised:
        run_watched(units, ResultStore(folder=tmp_path), epochs=4, title="x", runner=Failing(), watch=watch)
    assert isinstance(raised.value, ConfigError)
    assert "stage 0: a made-up fault\nstage 1: a made-up fault" in str(raised.value)
    assert "distil-stage" not in str(raised.value) and raised.value.__notes__ == ["its traceback"] * 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"stage {place} failed: a made-up fault" for place in (0, 1)]
