"""A short run of benchmarks/fuzz.py, all readers together, and what it is to see."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from fuzz import ALL, fuzz, targets, together
from fuzz_targets import Target


@pytest.mark.long
@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="atheris has wheels for Linux on x86-64 alone",
)
@pytest.mark.device  # some seconds, most of them to instrument what is fuzzed
def test_nothing_from_outside_ends_in_another_error_than_the_projects_own(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is absent: pip install 'harness[dev]'")
    # In so few executions branches lead nowhere, and all packages' take most of the time to be found.
    line, is_finding = fuzz(ALL, 2, tmp_path / "findings", ("space",))
    assert not is_finding, line
    executions, edges = (int(line.split()[place].replace(",", "")) for place in (1, 3))
    assert executions > 50 and edges > 500


def test_the_first_byte_of_an_input_chooses_its_reader() -> None:
    read: list[tuple[str, bytes]] = []
    made = [
        Target(read=lambda data, name=name: read.append((name, data)), seeds=[name.encode()])  # type: ignore[misc]
        for name in ("one", "two")
    ]
    both = together(made)
    for seed in both.seeds:
        both.read(seed)
    assert read == [("one", b"one"), ("two", b"two")]
    assert ALL not in targets()
