"""Models in fp16 by the commands: measured by the real agent beside fp32, exported, profiled by a device's own precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest
from rigs.commands import Done, run
from rigs.short_campaigns import SHORT, any_core

from harness.devices.config import parse_precision
from harness.measurement.plan import LEVELS
from harness.query.properties import property_cost
from space import TINY, Architecture

pytestmark = [pytest.mark.device, pytest.mark.converter]

NETWORK, SPACE = "conv/bconv", ("--space", "tiny")
MEASURE = ("measure", "--models", NETWORK, *SPACE, "--runtime", "onnxruntime", "--level", "quick", "--json")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harness_cache: Path) -> Iterator[Path]:
    """A home and a working folder of one's own, and short sessions on any core."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HARNESS_CACHE", str(harness_cache))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(LEVELS, "quick", SHORT)
    with any_core():
        yield tmp_path


def ended_well(done: Done) -> Done:
    assert done.status == 0, done.stderr
    return done


def test_a_network_is_measured_in_two_precisions_which_are_told_apart_afterwards(here: Path) -> None:
    store = here / "store.sqlite"
    both = ("--precision", "fp32", "--precision", "fp16")
    rows = ended_well(run(store, *MEASURE, *both)).json
    assert [row["precision"] for row in rows] == ["fp32", "fp16"]
    assert {row["architecture"] for row in rows} == {NETWORK}
    again = ended_well(run(store, *MEASURE, *both))
    assert "0 sessions measured" in again.stderr and "2 already stored" in again.stderr
    (row,) = ended_well(run(store, "results", "--precision", "fp16", "--json")).json
    assert row == rows[1]


def test_an_exported_file_is_half_as_large_in_fp16(here: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        file = here / f"{precision}.onnx"
        export = ("export", NETWORK, *SPACE, "--format", "onnx", "--output", str(file))
        done = ended_well(run("", *export, "--precision", precision))
        assert ("as fp16 onnx" in done.stderr) == (precision == "fp16")
        sizes[precision] = file.stat().st_size
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        cost = property_cost("onnx-size", TINY, precision=parse_precision(precision))
        size = cost.values[Architecture.parse(NETWORK, TINY).index]
        assert size == pytest.approx(sizes[precision], abs=3000), "the file has metadata, too"
        assert cost.title.endswith(" in fp16") == (precision == "fp16")
    assert 0.45 < sizes["fp16"] / sizes["fp32"] < 0.6


def test_a_profile_is_of_the_device_s_own_precision_and_of_another_where_one_is_named(here: Path) -> None:
    Path("devices.toml").write_text('[devices.local]\ntransport = "local"\nprecision = "fp16"\n')
    profile = ("profile", NETWORK, *SPACE, "--runs", "4", "--by", "op", "--json")
    own, named = (ended_well(run("", *profile, *more)).json for more in ((), ("--precision", "fp32")))
    assert "Cast" in {group["name"] for group in own["by"]["op"]}
    assert "Cast" not in {group["name"] for group in named["by"]["op"]}
