"""Names, patterns, groups and `all` after --device, alike in all commands that read a store; groups are those of devices.toml."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from factories.records import CONFIGURATION
from factories.stores import add_sessions, calibrate, networks, new_store
from rigs.commands import Done, refused, run

import harness
from space.errors import ConfigError

DEVICES = ("pi4", "pixel-6", "pixel-8")
LAB = """
[defaults]
transport = "local"
[devices.pi4]
group = "boards"
[devices.pixel-6]
group = "phones"
[devices.pixel-8]
group = "phones"
[devices.new]
group = ["phones", "unused"]
"""
A, B = (str(each) for each in networks(2))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of three devices; the last two have 12 networks, so few that none is predicted."""
    path = tmp_path_factory.mktemp("names") / "store.sqlite"
    with new_store(path) as store:
        for name in DEVICES:
            one = replace(CONFIGURATION, device=name)
            calibrate(store, one)
            add_sessions(store, networks(40 if name == "pi4" else 12), one, seed=len(name))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "devices.toml").write_text(LAB)
    return tmp_path


def devices(done: Done) -> list[str]:
    """Return the devices of a table in CSV, each once."""
    assert done.status == 0, done.stderr
    return list(dict.fromkeys(row["device"] for row in csv.DictReader(io.StringIO(done.stdout))))


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (["pi4"], ["pi4"]),
        (["pixel*"], ["pixel-6", "pixel-8"]),
        (["phones"], ["pixel-6", "pixel-8"]),
        (["all"], ["pi4", "pixel-6", "pixel-8"]),
        (["boards", "p*", "pi4"], ["pi4", "pixel-6", "pixel-8"]),
    ],
)
def test_results_are_of_all_devices_that_are_meant_and_measured(
    made: Path, folder: Path, asked: list[str], meant: list[str]
) -> None:
    options = [word for text in asked for word in ("--device", text)]
    assert devices(run(made, "results", *options, "--csv", "-m", A)) == meant
    with harness.open_store(str(made)) as store:
        table = harness.results(store, device=asked, models=A)
    assert [row.configuration.device for row in table] == meant


def test_what_means_nothing_that_is_stored_is_refused(made: Path, folder: Path) -> None:
    refused(
        run(made, "results", "-d", "pixle*"),
        "no device in the store fits 'pixle*'",
        "known: pi4, pixel-6",
        "groups: boards",
    )
    refused(
        run(made, "results", "-d", "unused"),
        "nothing is stored of group 'unused', new",
        "stored: pi4, pixel-6",
    )
    refused(
        run(made, "results", "-d", "pixle-6"),
        "nothing is stored of device 'pixle-6'; did you mean 'pixel-6'?",
    )


def test_devices_of_the_store_need_no_file(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "devices.toml").write_text("no TOML")
    assert devices(run(made, "results", "-d", "pixel*", "-d", "pi4", "--csv")) == list(DEVICES)
    refused(run(made, "results", "-d", "phones"), "devices.toml: not valid TOML")


def test_the_file_of_the_groups_may_be_named(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.toml").write_text(LAB)
    refused(run(made, "results", "-d", "phones"), "nothing is stored of device 'phones'")
    assert devices(run(made, "results", "-d", "phones", "--devices", "lab.toml", "--csv")) == [
        "pixel-6",
        "pixel-8",
    ]
    monkeypatch.setenv("HARNESS_DEVICES", "lab.toml")
    assert devices(run(made, "results", "-d", "phones", "--csv")) == ["pixel-6", "pixel-8"]


def test_two_networks_are_compared_on_each_device_of_a_group(made: Path, folder: Path) -> None:
    found = run(made, "compare", A, B, "--device", "phones", "--json").json
    assert [row["device"] for row in found] == ["pixel-6", "pixel-8"]
    with harness.open_store(str(made)) as store:
        assert len(harness.compare(store, A, B, device="all")) == 3


def test_what_predicts_one_device_takes_a_group_of_one_and_lists_those_of_more(
    made: Path, folder: Path
) -> None:
    with harness.open_store(str(made)) as store:
        assert harness.predict(store, device="boards").measured.configuration.device == "pi4"
        with pytest.raises(ConfigError, match="'pixel-6', 'pixel-8' has measurements under 2 configurations"):
            harness.predict(store, device="phones")


def test_a_limit_on_a_group_is_one_on_each_device(made: Path, folder: Path) -> None:
    search = ("search", "-a", "synthetic", "--measured-only", "--json")
    found = run(
        made, *search, "-d", "phones", "--max-latency", "50ms", "-c", "boards<60ms", "--pareto", "phones"
    ).json
    limits = [row["constraint"] for row in found["constraints"]]
    assert limits == ["pixel-6<=50ms", "pixel-8<=50ms", "pi4<60ms"]
    assert found["front"]["costs"] == ["pixel-6", "pixel-8"]
    every = run(made, *search, "-d", "all:onnxruntime").json
    assert {"pi4_ms", "pixel-6_ms", "pixel-8_ms"} <= set(every["networks"][0])
    refused(
        run(made, *search, "-d", "phones:tflite"),
        "'phones:tflite' means pixel-6, pixel-8: nothing that fits is stored",
    )
    refused(run(made, *search, "-d", "pixle"), "nothing is stored of device 'pixle'")


def test_stored_sessions_are_chosen_by_group_and_never_all_by_mistake(made: Path, folder: Path) -> None:
    path = folder / "copy.sqlite"
    path.write_bytes(made.read_bytes())
    refused(
        run(path, "store", "delete", "--yes", "--devices", "devices.toml"), "this would take every session"
    )
    for nothing in ("unused", "pixle"):
        refused(run(path, "store", "delete", "--yes", "-d", nothing), "nothing is stored of", nothing)
    refused(run(path, "store", "delete", "--yes", "-d", "x*"), "no device in the store fits 'x*'")
    assert run(path, "store", "delete", "--yes", "-d", "phones").status == 0
    assert {row["device"] for row in run(path, "store", "show", "--json").json} == {"pi4"}
