"""Pictures as files: PNG, SVG or PDF by the suffix of the path, and beside each its numbers as CSV."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.output.plots.styles import FAINT, GRID, INK
from harness.output.terminal import echo
from space.atomic_files import check_folder, check_output_file, write_file
from space.errors import ConfigError
from space.text import size_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIBRARIES = ("matplotlib", "plotly")
FORMATS = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 200
WIDTH, LINE = 7.6, 0.19  # of a figure, and from line to line of its title, in inches
# Publishers refuse Type 3 fonts (42: TrueType); names in a file follow from its content, not from chance.
_SETTINGS = {"pdf.fonttype": 42, "svg.hashsalt": "harness", "svg.fonttype": "path"}
_VARIABLES = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}  # instead of the user's settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure for print, and as `columns` and `rows` the numbers that it shows.

    `title` and `origin` are kept in the file.
    """

    draw: Callable[[], Figure]
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    origin: str = ""


def check_libraries() -> None:
    """Raise ConfigError when a library of the extra `report` is missing."""
    for name in LIBRARIES:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"figures need {name}; install it: pip install 'harness[report]'")


def check_pictures(*paths: Path | None) -> None:
    """Refuse a path that cannot become a picture, before anything is computed; None asks for no picture.

    Raises: ConfigError for a suffix that is no format, a folder that is not there, or a library that is missing.
    """
    for path in paths:
        if path is None:
            continue
        if path.suffix.lower() not in FORMATS:
            allowed = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            raise ConfigError(f"{path}: a picture's format follows from its suffix; end it in {allowed}")
        check_output_file(path, is_text=False)
        check_libraries()


def check_plot(figure: Path | None, sustained: str) -> None:
    """Raise ConfigError for a figure that cannot be written, or without --sustained."""
    if figure is not None and not sustained:
        raise ConfigError("--plot draws runs under load: add --sustained 30m, or leave it out")
    check_pictures(figure)


def check_figures(folder: Path | None, *pictures: Path | None) -> None:
    """Refuse a folder of figures that cannot be written to, paths that are no pictures, or the lack of a library that draws.

    Raises: ConfigError.
    """
    check_pictures(*pictures)
    if folder is not None:
        check_libraries()
        check_folder(folder, "--output ")


def data_path(path: Path) -> Path:
    """Return where the numbers of a picture are written: `NAME.data.csv` beside `NAME.png`."""
    return path.with_name(f"{path.stem}.data.csv")


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture's numbers and then the picture, each whole, and say so on standard error.

    Raises: ConfigError when a file cannot be written, or matplotlib is missing.
    """
    for one, make in ((data_path(path), picture_data), (path, lambda it: picture_bytes(it, path.suffix))):
        data = make(picture)
        write_file(one, data)
        echo(f"{one}: {size_text(len(data))}", err=True)


def picture_data(picture: Picture) -> bytes:
    """Return the numbers of a picture as CSV (RFC 4180), a cell empty where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(picture.columns)
    # NaN is the one value that differs from itself
    writer.writerows(["" if cell != cell else cell for cell in row] for row in picture.rows)
    return text.getvalue().encode()


def picture_bytes(picture: Picture, suffix: str = ".png") -> bytes:
    """Return a picture as a file of a suffix of `FORMATS`: equal pictures give equal files.

    Raises: ConfigError when matplotlib is missing.
    """
    check_libraries()
    data, kind = io.BytesIO(), suffix.lower().removeprefix(".")
    with neutral_style():
        import matplotlib as mpl

        mpl.rcParams.update(_SETTINGS)
        picture.draw().savefig(data, format=kind, dpi=DOTS_PER_INCH, metadata=_metadata(picture, kind))
    return data.getvalue()


@contextmanager
def neutral_style() -> Iterator[None]:
    """Draw with matplotlib's own defaults, and without the user's settings even where they keep it from being imported."""
    try:
        import matplotlib as mpl
    except (ValueError, OSError, UnicodeError):  # a backend or a file of settings that it cannot use
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # half of it was imported
        former = {name: os.environ.get(name) for name in _VARIABLES}
        os.environ.update(_VARIABLES)
        try:
            import matplotlib as mpl
        finally:
            for name, value in former.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def _metadata(picture: Picture, kind: str) -> dict[str, Any]:
    """Return a file's metadata, without a date, which would make equal pictures differ."""
    about: dict[str, Any] = {"Title": picture.title}
    if picture.origin:
        about["Subject" if kind == "pdf" else "Description"] = picture.origin
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    return about | undated[kind]


def write_title(
    figure: Figure, bold: Sequence[str], plain: Sequence[str], *, above: float = 0.1, size: float = 11.5
) -> None:
    """Write the lines of a title, and those below it, `above` inches from the top of a figure."""
    text: dict[str, Any] = {"va": "top", "parse_math": False}  # a device's name may hold a $
    for number, line in enumerate([*bold, *plain]):
        looks: dict[str, Any] = {"fontsize": 9, "color": FAINT}
        if number < len(bold):
            looks = {"fontsize": size, "fontweight": "bold", "color": INK}
        figure.text(0.012, 1 - (above + LINE * number) / figure.get_figheight(), line, **looks, **text)


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float, **more: Any) -> Any:
    """Return new axes of a figure; their place and size are in inches."""
    wide, tall = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / tall, width / wide, height / tall), **more)


def style_axes(axes: Any, size: float = 9, axis: str = "both") -> None:
    """Give axes a grid along `axis`, no frame above and at the right, and labels of this size."""
    axes.grid(axis=axis, color=GRID, linewidth=0.6, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=size)
