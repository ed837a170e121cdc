"""What benchmarks/tflite_converters.py prints of a converter's models; latencies are for a quiet machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from tflite_converters import convert_all, convert_ours, table

pytestmark = pytest.mark.converter
NAME = "mbconv 3x3 e6"


def refused(name: str, place: Path) -> bytes:
    raise SystemExit(f"no operator\nfor {name}")


CONVERTERS: dict[str, Callable[[str, Path], bytes]] = {
    "ours": convert_ours,
    "same": convert_ours,
    "refuses": refused,
    "no model": lambda name, place: b"a text",
    "other weights": lambda name, place: convert_ours("shipped mbconv", place),
    "other shape": lambda name, place: convert_ours("shipped mbconv /2", place),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("converted")
    for converter, convert in CONVERTERS.items():
        (folder / converter).mkdir()
        (folder / converter / "names.json").write_text(json.dumps([NAME]))
        convert_all(convert, folder / converter)
    _, _, *found = table(folder, [*CONVERTERS], [NAME])
    return dict(zip(CONVERTERS, found, strict=True))


@pytest.mark.parametrize("converter", ["ours", "same"])
def test_a_model_of_the_candidate_has_its_figures(rows: dict[str, str], converter: str) -> None:
    _, operators, moves, error, ratio = rows[converter].removeprefix(f"{NAME:29}{converter:13}").split()
    assert (operators, moves) == ("4", "0")
    assert float(error) <= 1e-4 and (float(ratio) == 1 or converter == "same")


@pytest.mark.parametrize(
    ("converter", "reason"),
    [
        ("refuses", "SystemExit: no operator"),
        ("no model", "ValueError: "),
        ("other weights", "ValueError: its outputs are off by "),
        ("other shape", "ValueError: its outputs are (1, 14, 14, 64), not (1, 28, 28, 32)"),
    ],
)
def test_what_is_no_model_of_the_candidate_has_a_reason_and_no_figure(
    rows: dict[str, str], converter: str, reason: str
) -> None:
    text = " ".join(rows[converter].split())
    assert text.startswith(f"{NAME} {converter} failed: {reason}")
    assert all(len(line) <= 80 for row in rows.values() for line in row.splitlines())
