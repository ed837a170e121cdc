"""A terminal of some width for commands of this process, what it then shows, and a picture of that."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from harness.commands.app import main

LINES = 24
_CODE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


@dataclass(frozen=True)
class Shown:
    """What a command wrote to its terminal: its exit status, all that was written, and the lines that stand there at the end."""

    status: int
    written: str
    lines: list[str]


def run_in_terminal(*arguments: str, width: int, **environment: str) -> Shown:
    """Run `harness ARGUMENTS` in this process with both outputs on a pseudo-terminal that is `width` columns wide."""
    status, encoding = 0, environment.get("PYTHONIOENCODING", "utf-8")
    # rich asks the process's own descriptors, which are another terminal's, unless it is told
    told = {"TERM": "xterm-256color", "COLUMNS": str(width), **environment}
    with (
        _terminal(width, encoding) as (stream, written),
        patch.object(sys, "argv", ["harness", *arguments]),
        patch.dict(os.environ, told),
        patch.object(sys, "stdout", stream),
        patch.object(sys, "stderr", stream),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    text = b"".join(written).decode(encoding, "replace").replace("\r\n", "\n")
    return Shown(status, text, screen(text))


@contextmanager
def _terminal(width: int, encoding: str) -> Iterator[tuple[io.TextIOWrapper, list[bytes]]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, width, 0, 0))
    written: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 65536):
                written.append(data)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    stream = os.fdopen(theirs, "w", encoding=encoding, buffering=1)
    try:
        yield stream, written
    finally:
        stream.close()
        reader.join()
        os.close(ours)


def screen(text: str) -> list[str]:
    """Return the lines that stand on a terminal at the end: what is written over is gone."""
    lines, row, column = [""], 0, 0
    for piece in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\n|\r)", text):
        code = _CODE.fullmatch(piece)
        if piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            column = 0
        elif code and code[2] == "A":
            row = max(0, row - int(code[1] or 1))
        elif code and code[2] == "K":
            lines[row] = "" if code[1] == "2" else lines[row][:column]
        elif not code:
            before = lines[row].ljust(column)
            lines[row] = before[:column] + piece + before[column + len(piece) :]
            column += len(piece)
    return [line.rstrip() for line in lines]


def draw(lines: Sequence[str], width: int, path: Path) -> None:
    """Draw lines as a terminal of `width` columns shows them, longer ones broken at its edge, as a PNG file."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(fonts / "DejaVuSansMono.ttf"), 15)
    rows = [line[at : at + width] for line in lines for at in range(0, max(1, len(line)), width)]
    across, down, edge = font.getlength("m"), 19, 8
    size = (int(across * width) + 2 * edge, down * len(rows) + 2 * edge)
    image = Image.new("RGB", size, "#1e1e1e")
    pen = ImageDraw.Draw(image)
    for number, row in enumerate(rows):
        # One by one: a letter that the font draws wider keeps its column.
        for place, letter in enumerate(row):
            pen.text((edge + across * place, edge + down * number), letter, font=font, fill="#dddddd")
    image.save(path)
