"""What is typed wrong is told as any error of ours: one sentence with the thing, the value and where to look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from rigs.commands import run
from rigs.terminals import run_in_terminal

from harness.commands.help_pages import UsageError
from harness.output.usage_errors import config_error

MISTAKES = {
    "mesure": "there is no command 'mesure'; did you mean 'measure'? 'harness -h' shows its commands",
    "store frob": "store has no command 'frob'; 'harness store -h' shows its commands",
    "measure --fersh": "measure has no option '--fersh'; did you mean '--fresh'? 'harness measure -h' shows its options",
    "profile": "profile: missing argument 'MODEL'; 'harness profile -h' shows its options",
    "-x": "there is no option '-x'; 'harness -h' shows its options",
    "--store x results": "--store goes after the command: harness COMMAND --store ...",
    "store --since 2026 show": "--since goes after the command: harness store COMMAND --since ...",
    "results --device": "option '--device' requires an argument; --help shows what it takes",
    "compare conv/conv": "compare: missing argument 'B'; 'harness compare -h' shows its options",
    "export x": "export: missing option '--output' / '-o'; 'harness export -h' shows its options",
    "export x --format onxx": "export: --format 'onxx' is not one of 'onnx', 'tflite'; did you mean 'onnx'? "
    "'harness export -h' shows its options",
    "devices more": "devices takes no further argument: more; 'harness devices -h' shows its options",
    "search compare --seed x": "search compare: --seed 'x' should be a valid integer; "
    "'harness search compare -h' shows its options",
    "measure --threads 0": "measure: --threads '0' should be greater than or equal to 1; "
    "'harness measure -h' shows its options",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_what_is_typed_wrong_is_one_sentence_that_fits_any_terminal(typed: str, tmp_path: Path) -> None:
    piped = run(tmp_path / "none.sqlite", *typed.split())
    assert (piped.status, piped.stdout) == (2, "")
    assert piped.stderr == f"harness: {MISTAKES[typed]}\n"
    for width in (80, 40):
        shown = run_in_terminal(*typed.split(), width=width)
        assert shown.status == 2
        assert " ".join(" ".join(shown.lines).split()) == piped.stderr.strip()
        assert max(map(len, shown.lines)) <= width


def test_a_value_of_a_variable_is_named_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def count(number: Annotated[int, typer.Option(envvar="MADE_UP_NUMBER")] = 1) -> None:
        """Count."""

    monkeypatch.setenv("MADE_UP_NUMBER", "many")
    with pytest.raises(UsageError) as raised:
        typer.main.get_command(app).main([], "count", standalone_mode=False)
    assert "$MADE_UP_NUMBER 'many'" in str(config_error(raised.value))


@pytest.mark.parametrize("typed", ["", "store", "dataset"])
def test_commands_alone_show_what_there_is_below_them(typed: str, tmp_path: Path) -> None:
    shown = run(tmp_path / "none.sqlite", *typed.split())
    assert shown.status == 2
    assert "Commands:" in shown.stdout
