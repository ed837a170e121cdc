"""The commands of README.md, the tutorial and the how-to pages, run in the order of each page.

The store holds made-up sessions of the devices that the pages name; what measures does so on this machine in their place, into a
store of its own. Each command is run, with fewer networks, images and epochs than the reader's; those of `LONG` one by one in the
long lane. `EXCUSED` are left out, each with its reason; tests/test_documentation.py checks that their command lines are right.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.finished_studies import made_study, made_truth
from factories.model_files import dense, dense_output, pooled, save, save_tflite, save_two_signatures, tokens
from factories.programs import save_program
from factories.records import CONFIGURATION, make_energy_run
from factories.spaces import TWO_OPS, make_known
from factories.stores import add_sessions, calibrate, networks, new_store
from rigs.commands import run
from rigs.short_campaigns import any_core, same_pace, short_levels

import exporters
from exporters import standalone
from harness.prediction.request import DEFAULT_MODELS
from space import find_space
from space.dataset import Dataset, write_dataset
from space.segments import all_segments
from space.selection import select_models

pytestmark = pytest.mark.converter

ROOT = Path(__file__).parents[3]
HOW_TO = sorted((ROOT / "docs/how-to").glob("*.md"))
# Pages with tests of their own: on adding parts, in which these are installed (test_parts_from_outside.py), and on images
# (end_to_end/test_own_data.py).
PAGES = (
    ROOT / "README.md",
    ROOT / "docs/tutorial.md",
    *(page for page in HOW_TO if not page.stem.startswith("add-") and page.stem != "own-data"),
)
# Pages whose commands take more than four seconds of a core.
DEAR = {
    "blockwise",
    "ci-gate",
    "int8",
    "own-files",
    "own-space",
    "packed-jobs",
    "results-elsewhere",
}
BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CLUSTER = "a cluster: tests/search/work/test_ray_cluster.py"
OTHER_CHIP = "a chip that few machines have: tests/device_agents/runtimes"
EXCUSED = {
    "train sample:20@1 --space tiny --output trained --ray 10.0.0.5:6379": CLUSTER,
    "measure mobilenet_edgetpu.tflite --device coral --reference efficientnet_edgetpu.tflite": OTHER_CHIP,
    "measure --runtime litert:gpu": OTHER_CHIP,
    "measure model.tflite --runtime litert:gpu-fp32 --level quick": OTHER_CHIP,
    "measure model.tflite --device pi4 --runtime tflite:npu": OTHER_CHIP,
}
LONG = (  # dozens of sessions, or a space exported to TFLite
    "measure --runtime onnxruntime --until mape=2%",
    "measure --runtime litert",
    "measure --runtime tflite --models segments --level quick",
)
ON_THIS_MACHINE = ("measure", "profile", "doctor")
ONCE = ("--sessions", "1")
ONNX = ("--runtime", "onnxruntime")
TINY = ("--space", "tiny")  # whose networks take a hundredth of the time of Blox's
FILES = (".onnx", ".tflite", ".pt2")
LESS = {
    "--epochs": "1",
    "--fine-tune": "1",
    "--fine-tune-epochs": "1",
    "--sustained": "3s",
    "--until": "mape=90%",
}
WRITES = ("--output", "-o", "--figure", "--correlations-figure", "--plot", "--table", "--write")
SMALLEST = {
    "": "conv/conv/conv",
    "tiny": "conv/conv",
    "deep": "conv/conv/conv/conv/conv",
    "mine.toml": "mb3/ghost/mb6/ghost",
}
# Of the trainings and latencies of pages on other spaces; in place of tiny, one whose blocks are distilled in half of the time.
SPACES = {"blockwise": TWO_OPS.name, "own-space": "mine.toml"}
IMAGES = "synthetic:0:8/4/4"


def shown(page: Path) -> list[list[str]]:
    """Return the arguments of the commands that a page shows."""
    lines = [
        line
        for kind, _, block in BLOCK.findall(page.read_text())
        if not kind
        for line in block.replace("\\\n", "").splitlines()
    ]
    return [
        shlex.split(line, comments=True)[1:] for line in lines if re.match(r"(scripts/)?harness [a-z]", line)
    ]


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of the commands of a page that are run here."""
    return [words for words in shown(page) if shlex.join(words) not in (*EXCUSED, *LONG)]


def measures(words: list[str]) -> bool:
    """Tell whether a command needs a device."""
    return words[0] in ON_THIS_MACHINE or (words[0] == "compare" and words[1].endswith((".onnx", ".tflite")))


def less(words: list[str], space_of_page: str = "") -> list[str]:
    """Return a command with less to do than the reader's: one network, session and epoch, few images, no finalists measured."""
    space = words[words.index("--space") + 1] if "--space" in words else ""
    found = list(words)
    if words[0] == "profile" and not words[1].endswith(FILES):
        return ["profile", SMALLEST["tiny"], *words[2:], *TINY]
    samples = any(word.startswith(("sample:", "design:")) for word in words)
    if words[0] == "measure" and samples and not space:
        found, space = [*found, *TINY], "tiny"
    for place, (option, value) in enumerate(pairwise(words), 1):
        if option in LESS and value != "0":
            found[place] = LESS[option]
        elif value == "digits":
            found[place] = IMAGES
        elif words[0] == "train" and value == "tiny" and space_of_page:
            found[place] = space_of_page
        elif words[0] in ("measure", "pack", "train") and value.startswith(("sample:", "design:")):
            found[place] = SMALLEST[space]
    if "--verify" in found:  # test_search_verify.py
        place = found.index("--verify")
        del found[place : place + 2]
    if words[0] == "train" and "--epochs" not in words:
        return [*found, "--epochs", "1"]
    if words[:2] == ["search", "compare"]:
        return [*found, "--seeds", "2"]
    if "blockwise" in words:
        epochs = () if "--fine-tune-epochs" in words else ("--fine-tune-epochs", "1")
        return [*found, "--finalists", "2", *epochs, *(("--fit-networks", "4") if "donna" in words else ())]
    if words[0] == "predict" and "--models" not in words:
        return [*found, "--models", "sample:20@1"]
    if words[0] == "gate":
        return [*found, "--sessions", "2"]
    if words[0] == "compare" and measures(words):
        return [*found, "--level", "quick"]  # of one session
    if words[0] != "measure" or "--sustained" in words:
        return found
    if "--until" in words:
        return [*found, *TINY]
    if "segments" in words:
        return [*found, *ONCE, *TINY]
    if any(word.endswith(FILES) for word in words):
        return [*found, *ONCE]
    is_named = "--models" in words or any("conv/" in word for word in words)
    network = () if is_named else (*TINY, "--models", SMALLEST["tiny"])
    return [*found, *ONCE, *network, *(() if "--runtime" in words else ONNX)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store as it is after the measurements of all pages: this machine with both runtimes, a phone, a board."""
    path = tmp_path_factory.mktemp("documented") / "store.sqlite"
    onnx = replace(CONFIGURATION, device="local", threads=1, cores=(0,))
    tflite = replace(onnx, runtime="tflite", provider="XNNPACK", format="tflite")
    store = new_store(path)
    for configuration in (onnx, tflite, replace(onnx, device="pixel"), replace(tflite, device="pi4")):
        measured = [*networks(40), *select_models(DEFAULT_MODELS)]  # of the latter what pages compare
        calibrate(store, configuration)
        add_sessions(store, measured, configuration, factor=0.6, seed=len(configuration.device))
    add_sessions(store, all_segments(), tflite, scatter=0.001)
    for one in networks(3):
        energy = make_energy_run(configuration=onnx)
        store.add_block_run(
            replace(energy, architecture=str(one), graph_hash=one.graph_hash, model_digest=2 * one.graph_hash)
        )
    store.close()
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where all pages measure: what one has measured is not measured again by the next that shows the same command."""
    return tmp_path_factory.mktemp("measured") / "store.sqlite"


@pytest.fixture
def space_store(page: Path, folder: Path) -> Path:
    """Return a store as it is after the measurements of a page on another space than Blox."""
    write_files(page, folder)
    space = find_space(SPACES[page.stem])
    configuration = replace(CONFIGURATION, device="local", threads=1, cores=(0,), space=space.name)
    with new_store(folder / "store.sqlite") as store:
        calibrate(store, configuration)
        add_sessions(store, space.sample(40), configuration, factor=0.02)
    return folder / "store.sqlite"


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows."""
    for _, title, block in BLOCK.findall(page.read_text()):
        if named := re.search(r'title="(\S+)"', title):
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(block)


def write_models(folder: Path) -> None:
    """Write small models by the names that pages have for the reader's."""
    for name in ("models", "zoo/small"):
        (folder / name).mkdir(parents=True)
    for name in ("model", "models/first", "zoo/small/second"):
        save(dense(), folder / f"{name}.onnx")
    for name in ("model", "detector", "old", "models/net"):
        save_tflite(folder / f"{name}.tflite")
    for name in ("new", "other"):
        save_tflite(folder / f"{name}.tflite", 12)
    shutil.copytree(folder / "models", folder / "build")
    save_two_signatures(folder / "gemma.tflite", ("prefill", "decode"))
    save(pooled("input"), folder / "segmenter.onnx")
    ids, mask = "input_ids", "attention_mask"
    save(tokens(names=(ids, mask)), folder / "bert.onnx")
    np.savez(folder / "batch.npz", **{ids: np.arange(128)[None], mask: np.ones((1, 128), bool)})
    save(dense(), folder / "detector.onnx")
    images = np.linspace(-1, 1, 8, dtype=np.float32)[None]
    np.savez(folder / "image.npz", x=images)
    np.savez(folder / "boxes.npz", y=dense_output(images))


def standalone_if_int8(*given: Any, precision: str, **named: Any) -> bytes:
    """Return a network as a model file, whose accuracy is judged, where it is in int8; else no model."""
    return standalone(*given, precision=precision, **named) if precision == "int8" else b"a model"


def be_all_devices(file: Path) -> None:
    """Have all devices of a file be this machine, in the groups that they are in."""
    given = tomllib.loads(file.read_text())
    shared = given.get("defaults", {}).get("group", [])
    here = 'transport = "local"\nruntimes = ["onnxruntime", "tflite"]'
    tables = [
        f"[devices.{name}]\n{here}\ngroup = {json.dumps(one.get('group', shared))}\n"
        for name, one in given["devices"].items()
    ]
    file.write_text("".join(tables))


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
    monkeypatch.setattr(exporters, "standalone", standalone_if_int8)  # of others: tests/exporters
    monkeypatch.setattr("search.study.study.run_study", lambda settings, *_: made_study(settings))
    monkeypatch.setattr("search.study.study.load_truth", lambda *_: made_truth())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def short_sessions(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Let sessions be short; what a doctor would try out is that of all doctors: test_doctor.py.

    By a sensor of energy a network would be measured for minutes: test_energy.py.
    """
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # this machine has what it needs: nothing is installed
    monkeypatch.setattr("harness.devices.doctor._trials", lambda *_: [])
    none = {"reasons": ["none that this test waits for"]}
    monkeypatch.setattr("harness.measurement.session_runner.find_sensor", lambda *_: none)
    with any_core(), short_levels(), same_pace():
        yield


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.long] if page.stem in DEAR else [])
        for page in PAGES
        if commands(page)
    ],
)
@pytest.mark.usefixtures("short_sessions")
def test_the_commands_of_a_page_do_what_they_say(
    page: Path,
    store: Path,
    measured: Path,
    folder: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_known(monkeypatch, TWO_OPS)
    write_files(page, folder)
    write_models(folder)
    if page.stem == "own-files":
        save_program(folder / "net.pt2")
    be_all_devices(folder / "devices.toml")
    store = request.getfixturevalue("space_store") if page.stem in SPACES else store
    for words in commands(page):
        if words[0] == "import":
            subprocess.run([sys.executable, "job.zip"], check=True, capture_output=True)
        done = run(measured if measures(words) else store, *less(words, SPACES.get(page.stem, "")))
        # 2 of a gate: beside other programs the file could not be judged, which the table says
        is_gate = words[0] == "gate" and "net.tflite" in done.stdout
        assert done.status in ((0, 2) if is_gate else (0,)), f"harness {shlex.join(words)}: {done.stderr}"
        for option, value in pairwise(words):
            assert option not in WRITES or (folder / value).exists(), words


@pytest.mark.long
@pytest.mark.parametrize("command", LONG)
@pytest.mark.usefixtures("short_sessions")
def test_a_command_of_dozens_of_sessions_does_what_it_says(command: str, folder: Path) -> None:
    done = run(folder / "measured.sqlite", *less(shlex.split(command)))
    assert done.status == 0, done.stderr


def test_each_excuse_is_of_a_command_that_a_page_shows() -> None:
    assert {*EXCUSED, *LONG} - {shlex.join(words) for page in PAGES for words in shown(page)} == set()
