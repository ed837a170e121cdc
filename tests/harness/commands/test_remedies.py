"""Commands that messages tell to type: they are of the store that was meant, and quoted for a shell."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from factories.stores import FEW, add_sessions, calibrate, networks, new_store
from rigs.commands import run

from harness.commands.app import app
from harness.commands.help_pages import command_line
from harness.measurement.packed import PackedJob
from harness.output.packed import print_job
from harness.output.terminal import _STORED, console, echo
from harness.query.gate_baseline import parse_baseline
from space.errors import ConfigError


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "my lab.sqlite"
    with new_store(path) as opened:
        calibrate(opened, FEW)
        add_sessions(opened, networks(2), FEW)
    return path


def told(text: str) -> list[str]:
    """Return the words of the command that a message tells to type."""
    (line,) = re.findall(r"harness (?:(?![,:] )[^;)\n])*", text.removeprefix("harness: "))
    return shlex.split(line)


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", str(networks(2)[0]), "mbconv/mbconv/mbconv", "--device", FEW.device),
        ("results", "--device", "elsewhere"),
        ("predict", "--device", FEW.device),
    ],
)
@pytest.mark.parametrize("given", ["--store {}", "--store={}"])
def test_a_remedy_names_the_store_that_was_named(arguments: tuple[str, ...], given: str, store: Path) -> None:
    words = [word.format(store) for word in given.split()]
    told_of_it = run("sqlite://", *arguments, *words).stderr
    assert told(told_of_it)[-2:] == ["--store", str(store)]
    assert "--store" not in run(store, *arguments).stderr, "that of $HARNESS_STORE is meant anyway"


def test_a_store_with_a_password_is_not_repeated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, option in (
        ("postgresql://me:secret@lab/x", ""),
        ("lab.sqlite", " --store lab.sqlite"),
        ("", ""),
    ):
        monkeypatch.setattr(console, "store", url)
        echo(
            "measure more: harness measure --models all; or 'harness store check'; harness devices", err=True
        )
        assert capsys.readouterr().err == (
            f"measure more: harness measure --models all{option}; or 'harness store check{option}'; harness devices\n"
        )


def test_the_commands_that_are_given_a_store_are_those_that_take_one() -> None:
    for name, command in command_line(app).commands.items():
        below = getattr(command, "commands", {"": command}).values()
        takes = all("--store" in [word for option in one.params for word in option.opts] for one in below)
        assert bool(_STORED.match(f"harness {name}")) == takes, name


def test_names_of_files_are_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = PackedJob(job_id="0" * 36, data=b"", networks=1, sessions=1, parts=1)
    path = tmp_path / "my job.zip"
    path.touch()
    print_job(job, path, "board", json_output=False)
    assert (
        "on the device: python3 'my job.zip'; then here: harness import 'my job-results.zip'"
        in capsys.readouterr().err
    )
    (tmp_path / "base line.json").write_text("no baseline")
    with pytest.raises(ConfigError) as refused:
        parse_baseline(tmp_path / "base line.json")
    assert told(str(refused.value)) == [
        *("harness", "gate", "--write"),
        str(tmp_path / "base line.json"),
        "FILES",
    ]
