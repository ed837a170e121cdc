"""Lines of text: wrapped for a terminal, as they are elsewhere, and readable in any encoding and without colors."""

from __future__ import annotations

import io
import os
import pty

import pytest
import typer

from harness.commands.app import app
from harness.output.terminal import bold, console, echo, is_live, width_of, words, wrap

NETWORK = "mbconv-mbconv+in/mbconv-mbconv+out/bconv-mbconv+out"
COMMAND = f"harness measure --device pi4 --runtime onnxruntime --models {NETWORK}"


class Terminal(io.StringIO):
    """Text that counts as a terminal."""

    def isatty(self) -> bool:
        return True


def test_lines_fit_the_width_and_words_stay_whole() -> None:
    text = f"too-few-slices: 3 of 20 networks, e.g. {NETWORK}: fewer than 12 slices; measure again"
    for width in (20, 40, 80):
        lines = wrap(text, width)
        assert all(len(line) <= width or line == NETWORK + ":" for line in lines)
        assert " ".join(line.strip() for line in lines) == text


def test_a_command_line_is_whole_on_one_line_to_be_copied() -> None:
    lines = wrap(f"more sessions narrow the intervals: {COMMAND}", 80)
    assert lines == ["more sessions narrow the intervals:", COMMAND]
    assert wrap(f"see it ({COMMAND}), or go on", 40)[-1].endswith("or go on")
    assert COMMAND in "\n".join(wrap(f"see it ({COMMAND}), or go on", 40))


@pytest.mark.parametrize(
    "line",
    [
        f'host_key = "ssh-ed25519 {"A" * 68}"',
        f"10.0.0.4 ssh-ed25519 {'A' * 68}",
        f"[h]:22 ecdsa-sha2-nistp256 {'A' * 68}",
    ],
)
def test_a_line_of_a_file_is_whole_to_be_copied_there(line: str) -> None:
    text = f"device 'pi4': unknown host key ssh-ed25519 SHA256:{'b' * 43} (no match in known_hosts); then pin it: {line}"
    for width in (40, 80):
        assert line in wrap(text, width)
        assert all(len(one) <= width for one in wrap(text, width) if one != line and "SHA256" not in one)


def test_every_command_of_harness_is_known_to_be_one() -> None:
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert words(f"then harness {name} lab.zip --store lab.db") == [
            "then",
            f"harness {name} lab.zip --store lab.db",
        ]


def test_what_is_no_terminal_gets_each_text_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    echo("word " * 50)
    assert capsys.readouterr().out == "word " * 50 + "\n"


def test_the_width_is_that_of_the_terminal_unless_columns_says_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 57, 0, 0))
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "w") as stream:
        monkeypatch.delenv("COLUMNS", raising=False)
        assert width_of(stream) == 57
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        assert width_of(stream) == 80
        for told, width in (("33", 33), ("0", 80), ("wide", 80)):
            monkeypatch.setenv("COLUMNS", told)
            assert width_of(stream) == width
    assert width_of(io.StringIO()) is None


@pytest.mark.parametrize(
    ("environment", "terminal", "is_bold"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, False, True),
        ({"TERM": "xterm", "FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_bold_is_for_terminals_that_have_it(
    environment: dict[str, str], terminal: bool, is_bold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Terminal() if terminal else io.StringIO()
    assert ("\x1b" in bold("text", stream)) == is_bold
    assert is_live(stream) == (terminal and environment["TERM"] != "dumb")


def test_letters_that_an_encoding_lacks_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    echo("Küche …")
    stream.seek(0)
    assert stream.read() == "K\\xfcche \\u2026\n"


def test_what_a_terminal_would_obey_is_written_out_in_every_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    echo("output of esc.onnx is not judged: \x1b[2J\u202e\nsecond line\tof two", err=True)
    assert capsys.readouterr().err == (
        "output of esc.onnx is not judged: \\x1b[2J\\u202e\nsecond line\tof two\n"
    )


@pytest.mark.parametrize("err", [False, True])
def test_commands_that_are_told_name_the_store_that_was_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, err: bool
) -> None:
    monkeypatch.setattr(console, "store", "my lab.sqlite")
    echo("needs the segments: harness measure --models segments", err=err)
    shown = capsys.readouterr()
    assert (shown.err if err else shown.out) == (
        "needs the segments: harness measure --models segments --store 'my lab.sqlite'\n"
    )
