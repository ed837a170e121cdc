"""The commands of README.md, the tutorial and the how-to pages, run in the order of each page.

The store holds made-up sessions of the devices that the pages name. What needs a device, a cluster or minutes of training is
run by the tests of those commands and not here; tests/test_documentation.py checks that its command line is right.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from factories.records import CONFIGURATION, make_energy_run
from factories.stores import add_sessions, calibrate, networks, new_store
from rigs.commands import run

import exporters
from space import Architecture, find_space
from space.dataset import Dataset, write_dataset
from space.segments import all_segments

pytestmark = pytest.mark.converter

ROOT = Path(__file__).parents[3]
HOW_TO = sorted((ROOT / "docs/how-to").glob("*.md"))
# The pages on adding parts have tests of their own, in which these are installed: test_parts_from_outside.py.
PAGES = (
    ROOT / "README.md",
    ROOT / "docs/tutorial.md",
    *(page for page in HOW_TO if not page.stem.startswith("add-")),
)
DEAR = {"own-space", "results-elsewhere"}  # some seconds of a core each
BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = {
    "measure",
    "pack",
    "import",
    "gate",
    "doctor",
    "provision",
    "profile",
    "train",
    "distill",
    "study",
    "--verify",
    "blockwise",
    "--ray",
    "--calibration",
}
FEW_SEEDS = ("--seeds", "2")  # of a comparison of searches, which is of hundreds unless it is told
COMPARED = ("bconv-conv+out/mbconv-conv+in+out/conv", "bconv-bconv+in/conv-conv+out/bconv-bconv")


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of the commands of a page that are run here."""
    lines = [
        line for kind, _, block in BLOCK.findall(page.read_text()) if not kind for line in block.splitlines()
    ]
    found = [
        shlex.split(line, comments=True)[1:] for line in lines if re.match(r"(scripts/)?harness [a-z]", line)
    ]
    return [words for words in found if not ELSEWHERE.intersection(words) and not compares_files(words)]


def compares_files(words: list[str]) -> bool:
    """Tell whether a command times two model files, which takes a device."""
    return words[0] == "compare" and words[1].endswith((".onnx", ".tflite"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store as it is after the measurements of all pages: this machine with both runtimes, a phone, a board."""
    path = tmp_path_factory.mktemp("documented") / "store.sqlite"
    onnx = replace(CONFIGURATION, device="local", threads=1, cores=(0,))
    tflite = replace(onnx, runtime="tflite", provider="XNNPACK", format="tflite")
    store = new_store(path)
    for configuration in (onnx, tflite, replace(onnx, device="pixel"), replace(tflite, device="pi4")):
        measured = [*networks(40), *map(Architecture.parse, COMPARED)]
        calibrate(store, configuration)
        add_sessions(store, measured, configuration, factor=0.6, seed=len(configuration.device))
    add_sessions(store, all_segments(), tflite, scatter=0.001)
    for one in networks(3):
        energy = make_energy_run(configuration=onnx)
        store.add_block_run(replace(energy, architecture=str(one), graph_hash=one.graph_hash))
    store.close()
    return path


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store as it is after the measurements of the page on a space of one's own."""
    folder = tmp_path_factory.mktemp("own")
    write_files(ROOT / "docs/how-to/own-space.md", folder)
    space = find_space(folder / "mine.toml")
    configuration = replace(CONFIGURATION, device="local", threads=1, cores=(0,), space=space.name)
    store = new_store(folder / "store.sqlite")
    calibrate(store, configuration)
    add_sessions(store, space.sample(40), configuration)
    store.close()
    return folder / "store.sqlite"


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows."""
    for _, title, block in BLOCK.findall(page.read_text()):
        if named := re.search(r'title="(\S+)"', title):
            (folder / named[1]).write_text(block)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder: devices and examples of the repository, and published files' forms with made-up accuracies."""
    (tmp_path / "devices.toml").write_text((ROOT / "devices.toml").read_text())
    indices = np.array([network.index for network in networks(500)])
    top1 = np.random.default_rng(0).integers(40, 60, (500, 2)).astype(float)
    columns = {"val_top1": top1.tolist(), "test_top1": top1[:, 1].tolist(), "train_time_s": [2] * 500}
    extra: dict[str, int | str] = {"seed": 0, "epochs": 2, "dataset": "synthetic-0-20-10-20", "part": "base"}
    made = Dataset(dataset_type="training", indices=indices, columns=columns, extra=extra)
    write_dataset(tmp_path / "blox-base-0.blox", made)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    macro = {f"2012210{last}": {"test_acc": [50.0 + last, 51.0, 52.0]} for last in range(3)}  # made up
    (tmp_path / "nas-bench-macro_cifar10.json").write_text(json.dumps(macro))
    monkeypatch.setattr(exporters, "standalone", lambda *_, **__: b"a model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.long] if page.stem in DEAR else [])
        for page in PAGES
        if commands(page)
    ],
)
def test_the_commands_of_a_page_do_what_they_say(
    page: Path, store: Path, folder: Path, request: pytest.FixtureRequest
) -> None:
    write_files(page, folder)
    store = request.getfixturevalue("own_store") if page.stem == "own-space" else store
    for words in commands(page):
        done = run(store, *words, *FEW_SEEDS * (words[:2] == ["search", "compare"]))
        assert done.status == 0, f"harness {shlex.join(words)}: {done.stderr}"
        for option, value in pairwise(words):
            assert option != "--output" or (folder / value).exists(), words


def test_of_the_pages_enough_commands_are_run() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= 15
