"""Pictures as files: the format by the suffix, equal files for equal pictures, and the numbers beside them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NoReturn

import pytest

from harness.output.plots.pictures import (
    FORMATS,
    Picture,
    check_pictures,
    data_path,
    picture_bytes,
    picture_data,
    write_picture,
)
from space.errors import ConfigError

BEGINNINGS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def made_picture() -> Picture:
    from matplotlib.figure import Figure

    def draw() -> Figure:
        figure = Figure(figsize=(2, 1))
        figure.add_axes((0.2, 0.2, 0.7, 0.7)).plot([0, 1], [0, 1])
        return figure

    rows = [("a, b", 1.5), ("c", float("nan"))]
    return Picture(
        draw=draw, title="a made-up picture", origin="of nothing", columns=["name", "value"], rows=rows
    )


@pytest.mark.parametrize("suffix", [*FORMATS, ".PDF"])
def test_the_format_follows_from_the_suffix(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    check_pictures(path)
    write_picture(path, made_picture())
    data = path.read_bytes()
    assert data.startswith(BEGINNINGS[suffix.lower()])
    assert b"a made-up picture" in data, "the file says what it is"
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([path.name, "picture.data.csv"])


@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_pictures_give_equal_files(suffix: str) -> None:
    data = picture_bytes(made_picture(), suffix)
    assert data == picture_bytes(made_picture(), suffix)
    assert b"CreationDate" not in data and b"<dc:date>" not in data, "nor tomorrow"


def test_a_pdf_has_no_type_3_fonts_which_publishers_refuse() -> None:
    data = picture_bytes(made_picture(), ".pdf")
    assert b"/Type3" not in data
    assert b"/TrueType" in data or b"/Type0" in data


def test_the_numbers_are_csv_that_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    write_picture(path, made_picture())
    with data_path(path).open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "value"], ["a, b", "1.5"], ["c", ""]]
    assert data_path(path).read_bytes() == picture_data(made_picture())


@pytest.mark.parametrize("name", ["picture.jpg", "picture", "picture.png.gz", ".png"])
def test_another_suffix_is_refused_with_those_that_there_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"end it in \.png, \.svg or \.pdf") as refusal:
        check_pictures(None, tmp_path / name)
    assert name in str(refusal.value)


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_pictures(tmp_path / "new" / "picture.png")
    with pytest.raises(ConfigError, match=r"picture\.png: cannot be written: Not a directory"):
        check_pictures(tmp_path / "file" / "picture.png")


def test_the_numbers_are_there_where_the_picture_cannot_be_drawn(tmp_path: Path) -> None:
    def broken() -> NoReturn:
        raise OSError("planted")

    picture = made_picture()
    path = tmp_path / "picture.png"
    with pytest.raises(OSError, match="planted"):
        write_picture(path, Picture(draw=broken, title="", columns=picture.columns, rows=picture.rows))
    assert data_path(path).exists() and not path.exists()
