"""Every command in terminals of 80 and 40 columns: nothing wider, no name and no number cut, and the same words as in a pipe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from rigs.commands import run
from rigs.terminal_cases import CASES, arguments_of, made_up, prepare
from rigs.terminals import run_in_terminal

from harness.commands.app import app
from harness.commands.help_pages import command_line, commands
from space import Architecture, find_space
from space.errors import ConfigError

# A word of a terminal that may be wider than it: a network's name, a path, or a line to be typed.
WHOLE = re.compile(r"(?:-> )?[('-]*(?:harness |sudo |\S*python\S* -m |\S+[,.:;)']*$)")
NAMED = [name for name, _ in commands(command_line(app))]
IN_TINY = ("train", "distill", "study", "search blockwise", "dataset write")
# What these show meanwhile, or the seconds that they took, differs from run to run.
PROGRESS = ("measure", "pack", "train", "distill", "search blockwise", "search compare")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("made")
    prepare(made)
    with made_up(made):
        yield made


def names(text: str, space: str) -> list[str]:
    """Return the words that are networks or parts of one. Raises: ConfigError for one that is only a part."""
    words = [word.strip(",.:;()'$") for word in text.split()]
    found = [word for word in words if re.fullmatch(r"[a-z+/-]*conv[a-z+/-]*/[a-z+/-]*", word)]
    for word in found:
        Architecture.parse(word, find_space(space))
    return found


@pytest.mark.parametrize("name", NAMED)
def test_a_help_page_has_one_default_an_option_and_no_brackets_within_brackets(name: str) -> None:
    text = " ".join(run("", *name.split(), "--help").stdout.split())
    options = re.split(r" (?=(?:-\w, )?--[a-z-]+ )", text)
    assert [one for one in options if one.count("[default: ") > 1] == []
    assert not re.search(r"\[\[|\{\w+(\.\.\.)?\}|<Path>", text.partition("blox-bench-NAME")[0])


@pytest.mark.parametrize("name", [name for name, command in commands(command_line(app)) if command.callback])
def test_a_help_page_has_all_that_its_command_says_of_itself(name: str) -> None:
    documented = dict(commands(command_line(app)))[name].callback.__doc__ or ""
    shown = " ".join(run("", *name.split(), "--help").stdout.split())
    assert documented and " ".join(documented.split()) in shown


@cache  # for both widths
def words_in_a_pipe(name: str, folder: Path) -> set[str]:
    """Return the words that a command writes where no terminal is."""
    piped = run(folder / "blox.sqlite", *arguments_of(name, folder))
    return set(f"{piped.stdout} {piped.stderr}".split())


WHOLE_SPACE = ("predict", "predict models")  # rank all networks of Blox


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in WHOLE_SPACE)) for name in CASES]
)
def test_a_command_fits_the_terminal_and_cuts_no_name_and_no_number(
    name: str, width: int, folder: Path
) -> None:
    arguments = arguments_of(name, folder)
    shown = run_in_terminal(*arguments, width=width)
    assert shown.status in (0, 1, 3), shown.written
    assert "Traceback" not in shown.written
    for line in shown.lines:
        assert len(line) <= width or WHOLE.match(line.strip()), line
    # above the bars what is wider than the terminal is folded, so that the bars stay in sight
    bars = [number for number, line in enumerate(shown.lines) if re.search(r"\d/\d+ .*left", line)]
    lines = shown.lines[bars[-1] :] if bars else shown.lines
    names(" ".join(lines), "tiny" if name in IN_TINY else "blox")
    if name in PROGRESS:
        return
    known = words_in_a_pipe(name, folder)
    left_out = " ".join(shown.written.split()).partition("left out for lack of room: ")[2].split()
    new = set(" ".join(shown.lines).split()) - known - set(left_out)
    assert not {word for word in new if re.search(r"[0-9…]|conv", word)}, (
        "words that no pipe gets are cut ones"
    )


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("name", NAMED)
def test_help_fits_the_terminal(name: str, width: int) -> None:
    shown = run_in_terminal(*name.split(), "--help", width=width)
    assert shown.status == 0
    assert max(map(len, shown.lines)) <= width
    assert not re.search(r"[a-z]\.\.\.", shown.written), "a text is cut"


def test_every_command_is_among_the_cases() -> None:
    groups = {"", "dataset", "store"}  # which do nothing themselves
    assert set(NAMED) - groups - set(CASES) == set()


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}])
@pytest.mark.parametrize("name", ["measure", "train", "devices", "results"])
def test_a_terminal_that_lacks_something_shows_the_same_words(
    name: str, environment: dict[str, str], folder: Path
) -> None:
    shown = run_in_terminal(*arguments_of(name, folder), width=80, **environment)
    assert shown.status in (0, 3)
    if "PYTHONIOENCODING" in environment:
        assert shown.written.isascii() and "�" not in shown.written
    elif "TERM" in environment:
        assert "\x1b" not in shown.written
    else:
        assert not re.search(r"\x1b\[[0-9;]*[134][0-9;]*m", shown.written), "neither bold nor colored"
    assert max(map(len, shown.lines)) <= 80


def test_a_name_that_was_cut_is_seen_by_these_tests() -> None:
    with pytest.raises(ConfigError):
        names("conv-conv+in/mbconv-mbconv+out/", "blox")
    with pytest.raises(ConfigError):
        names("mbconv+in/conv", "blox")


@pytest.mark.usefixtures("folder")
def test_wide_shows_every_column_before_and_after_the_command() -> None:
    assert "left out for lack of room" in run_in_terminal("results", width=80).written
    for arguments in (("--wide", "results"), ("results", "--wide")):
        shown = run_in_terminal(*arguments, width=80)
        assert shown.status == 0 and "left out" not in shown.written and "p90 ms" in shown.written
    assert "--wide" in run("", "--help").stdout
