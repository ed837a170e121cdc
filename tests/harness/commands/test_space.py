"""Networks of other spaces than Blox: measured, exported, and read from a store by their own space."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from factories.stores import FEW, MANY, add_sessions, calibrate, networks, new_store
from rigs.commands import refused, run
from rigs.short_campaigns import ONNX, any_core
from rigs.watcher import Watcher

import harness
from harness.devices.config import Device, LocalDevice
from harness.measurement.campaign import Outcome, run_campaign
from harness.models.exported import ExportedModels
from harness.prediction.space_prediction import load_measured
from harness.store import Store
from harness.store.configurations import measure_command
from harness.store.latencies import latencies
from space import BLOX, MINI, TINY, Architecture, SpaceConfig
from space.dataset import Dataset, write_dataset
from space.errors import ConfigError
from space.networks import build_network
from space.selection import select_models

SMALL = replace(FEW, space="tiny")  # with made-up sessions of 12 networks of the tiny space
KNOWN, OTHER = (Architecture.from_index(index, TINY) for index in (7, 1000))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one device that holds made-up sessions of networks of two spaces."""
    path = tmp_path_factory.mktemp("spaces") / "store.sqlite"
    store = new_store(path)
    chosen = select_models(["7", "1000", "sample:10@3"], TINY)
    for configuration, some in ((MANY, networks(12)), (SMALL, chosen)):
        calibrate(store, configuration)
        add_sessions(store, some, configuration, sessions=2)
    store.close()
    return path


# --- a store with two spaces ----------------------------------------------------------------------


def test_without_a_space_blox_is_meant_of_several_and_never_merged_with_another(store: Path) -> None:
    done = run(store, "predict", "-d", "made-up", "--models", "7", "--json")
    assert done.status == 0 and done.json["configuration"]["space"] == "blox", done.stderr
    found = run(store, "search", "-d", "made-up", "-a", "synthetic", "--top", "1", "--json")
    assert found.json["networks"][0]["architecture"].count("/") == 2, found.stderr
    own = store.parent / "own.csv"
    own.write_text("network,accuracy\nconv/bconv,60\n")
    for command in (("predict", "--models", "conv/bconv"), ("search", "--accuracies", str(own))):
        refused(run(store, *command, "-d", "made-up"), "networks of another space need --space tiny")
        done = run(store, *command, "-d", "made-up", "--space", "tiny")
        assert done.status == 0, done.stderr
    with Store(str(store)) as opened, pytest.raises(ConfigError, match="conv/bconv") as caught:
        harness.search_store(opened, own, device="made-up", space="blox")
    assert "another space" not in str(caught.value), "it is named"


def test_configurations_of_two_other_spaces_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with new_store(path) as store:
        for configuration, space in ((SMALL, TINY), (replace(MANY, space="mini"), MINI)):
            calibrate(store, configuration)
            add_sessions(store, space.sample(12), configuration, sessions=2)
    for command in (("predict",), ("search", "-a", "synthetic")):
        refused(run(path, *command, "-d", "made-up"), "2 configurations", "--space tiny or mini, ")
    done = run(path, "search", "--accuracies", "synthetic", "-d", "made-up", "--space", "tiny", "--json")
    assert done.status == 0, done.stderr
    assert done.json["networks"][0]["architecture"].count("/") == 1
    refused(run(path, "predict", "-d", "made-up", "--space", "tyni"), "tyni")


def test_a_search_is_in_the_space_of_its_files_where_they_say_it(store: Path, tmp_path: Path) -> None:
    for config in (BLOX, TINY):
        data = Dataset(
            dataset_type="training",
            indices=[1, 2],
            columns={"val_top1": [[50.0], [60.0]]},
            extra={"seed": 1, "epochs": 1, "dataset": "digits", "part": "base"},
            config=config,
        )
        (tmp_path / config.name).mkdir()
        write_dataset(tmp_path / config.name / "blox-base-1.csv", data)
    search = ("search", "--top", "1", "--json", "--accuracies")
    found = run(store, *search, str(tmp_path / "blox"), "-d", "made-up", "-t", str(MANY.threads))
    assert found.status == 0, found.stderr
    assert found.json["networks"][0]["architecture"].count("/") == 2
    refused(run(store, *search, str(tmp_path / "tiny")), "space mini or tiny", "name it: --space tiny")
    found = run(store, *search, str(tmp_path / "tiny"), "--space", "tiny")
    assert found.json["networks"][0]["architecture"].count("/") == 1


def test_a_configuration_of_another_space_is_predicted_over_that_space(store: Path) -> None:
    done = run(store, "predict", "--configuration", SMALL.digest[:8], "--models", "7,conv/bconv", "--json")
    assert done.status == 0, done.stderr
    assert [row["architecture"] for row in done.json["networks"]] == [str(KNOWN), "conv/bconv"]
    assert done.json["configuration"]["space"] == "tiny"
    wrong = ("predict", "--configuration", SMALL.digest[:8], "--models", "conv/conv/conv")
    refused(run(store, *wrong), "space 'tiny' has 2 stages")
    assert measure_command(SMALL).endswith(" --cores 0,1,2,3 --space tiny")
    assert "--space" not in measure_command(MANY)


def test_results_and_compare_read_names_in_the_space_of_what_is_stored(store: Path) -> None:
    rows = run(store, "results", "--models", str(KNOWN), "--json").json
    assert [(row["architecture"], row["space"]) for row in rows] == [(str(KNOWN), "tiny")]
    done = run(store, "compare", str(KNOWN), str(OTHER), "-d", "made-up", "--json")
    assert done.status == 0 and len(done.json) == 1, done.stderr
    refused(run(store, "compare", "conv", "conv/conv", "-d", "made-up"), "has 1 block", "space 'blox' has 3")
    only = ("--configuration", MANY.digest[:8])
    refused(run(store, "compare", str(KNOWN), str(OTHER), *only), "space 'blox' has 3 stages")


# --- a campaign and an export for real ------------------------------------------------------------


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "store.sqlite"))
    yield store
    store.close()


def measured(device: Device, store: Store, text: str, config: SpaceConfig) -> Outcome:
    source = ExportedModels(select_models([text], config), on_progress=lambda *_: None, config=config)
    rng, cancel = random.Random(0), threading.Event()
    with any_core():
        return run_campaign(device, source, ONNX, store, Watcher(), rng=rng, cancel=cancel)


@pytest.mark.converter
def test_networks_of_two_spaces_with_one_graph_are_measured_apart(tmp_path: Path, empty: Store) -> None:
    """mini's and tiny's networks have the same graph hashes: only the configuration's space tells them apart."""
    device = LocalDevice(name="local", root=str(tmp_path / "device"))
    for config in (TINY, MINI):
        outcome = measured(device, empty, "conv/bconv", config)
        assert outcome.error is None and outcome.measured == 1
    tiny, mini = sorted(empty.configurations(), key=lambda one: one.space, reverse=True)
    assert (tiny.space, mini.space) == ("tiny", "mini") and tiny.reference == mini.reference
    assert [len(latencies(empty, one)) for one in (tiny, mini)] == [1, 1]
    digests = [{one.model_digest for one in empty.sessions(c)} for c in (tiny, mini)]
    assert digests[0] and not digests[0] & digests[1]
    known = load_measured(empty, tiny, doubtful=True)  # beside other tests
    assert known.indices.tolist() == [Architecture.parse("conv/bconv", TINY).index]


@pytest.mark.converter
def test_a_trained_network_of_the_tiny_space_is_exported_with_its_weights(tmp_path: Path) -> None:
    architecture = Architecture.parse("conv/bconv", TINY)
    with torch.random.fork_rng(devices=[]):
        network = build_network(architecture).eval()
        torch.save(network.state_dict(), tmp_path / "weights.pt")
        image = torch.rand(1, 3, 8, 8)
    path = tmp_path / "network.onnx"
    named = ("conv/bconv", "--space", "tiny", "--format", "onnx", "--output", str(path))
    done = run("sqlite://", "export", *named, "--checkpoint", str(tmp_path / "weights.pt"))
    assert done.status == 0, done.stderr
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, network(image).numpy(), atol=1e-4)
    refused(run("sqlite://", "export", "conv/conv/conv", *named[1:]), "space 'tiny' has 2 stages")
