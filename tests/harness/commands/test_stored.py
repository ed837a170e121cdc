"""Which stored configuration a command is about, and what it says when there is none: alike in all commands that read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from factories.records import make_failure
from factories.stores import FEW, MANY, add_sessions, calibrate, networks, new_store, stored
from rigs.commands import refused, run

from harness.store import Store
from harness.store.configurations import measure_command

Make = Callable[[int, int], Path]
A, B = (str(each) for each in networks(2))
ONE = {
    "predict": ["predict"],
    "audit": ["audit"],
    "dataset": ["dataset", "write"],
    "dataset, measured only": ["dataset", "write", "--measured-only"],
}
READERS = ONE | {"compare": ["compare", A, B]}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes a store of so many networks of either configuration, without segments."""

    def make(many: int, few: int) -> Path:
        path = tmp_path / "store.sqlite"
        path.write_bytes(stored(many, few, False))
        return path

    return make


@pytest.mark.parametrize("name", ONE)
def test_several_configurations_are_listed_with_their_ids_and_never_merged(make: Make, name: str) -> None:
    done = run(make(12, 12), *ONE[name], "-d", "made-up")
    refused(done, "'made-up'", "2 configurations", "--threads")
    for configuration in (MANY, FEW):
        assert f"--configuration {configuration.digest[:8]} " in done.stderr
        assert f"threads {configuration.threads}" in done.stderr


@pytest.mark.parametrize("name", READERS)
def test_an_unknown_id_is_refused_with_those_that_are_stored(make: Make, name: str) -> None:
    done = run(make(12, 12), *READERS[name], "--configuration", "zz")
    refused(done, "--configuration 'zz'", MANY.digest[:8], FEW.digest[:8], "harness results")


@pytest.mark.parametrize("name", READERS)
def test_a_device_of_which_nothing_is_stored_is_refused(make: Make, name: str) -> None:
    store = make(12, 12)
    refused(run(store, *READERS[name]), "nothing is stored of device 'local'", "measure --device local")
    refused(run(store, *READERS[name], "-d", "made-pu"), "did you mean 'made-up'?", "(stored: made-up)")


@pytest.mark.parametrize("name", READERS)
def test_options_that_nothing_fits_are_named(make: Make, name: str) -> None:
    store = make(12, 12)
    done = run(store, *READERS[name], "-d", "made-up", "-t", "3", "-r", "tflite")
    refused(
        done, "nothing is stored that fits --device made-up --runtime tflite --threads 3;", "harness results"
    )
    other = run(store, *READERS[name], "-t", "2", "--configuration", FEW.digest)
    refused(other, f"--threads 2 --configuration {FEW.digest}")


@pytest.mark.parametrize("name", READERS)
def test_a_typed_store_that_is_not_there_is_refused_and_not_made(tmp_path: Path, name: str) -> None:
    for text in ("typo.sqlite", "sqlite:///{folder}/typo.sqlite?password=hunter2"):
        url = text.format(folder=tmp_path) if "://" in text else str(tmp_path / text)
        done = run(tmp_path / "own.sqlite", *READERS[name], "--store", url)
        refused(done, "no such store", "typo.sqlite", "harness measure", "--store")
        assert "hunter2" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_before_anything_is_measured_the_message_says_how_to_begin(tmp_path: Path) -> None:
    own = tmp_path / "folder" / "own.sqlite"
    for arguments in READERS.values():
        done = run(own, *arguments)
        refused(done, "nothing is measured yet", "harness measure --device local", f"{own} is not there yet")
    results = run(own, "results")
    assert (results.status, results.stdout) == (0, "")
    assert "nothing is measured yet; measure first: harness measure" in results.stderr
    assert run(own, "results", "--json").json == []
    assert list(tmp_path.iterdir()) == []


def test_an_empty_csv_has_its_title_row(make: Make) -> None:
    store = make(12, 0)
    full = run(store, "results", "-d", "made-up", "--csv").stdout.splitlines()
    empty = run(store, "results", "-d", "made-up", "-t", "9", "--csv")
    assert len(full) == 13
    assert empty.stdout.splitlines() == full[:1]
    assert run(store, "results", "--failures", "--csv").stdout.startswith("device,runtime,architecture,")


def test_results_take_threads_and_an_id(make: Make) -> None:
    store = make(12, 12)
    of_four = run(store, "results", "-t", "4", "--json").json
    assert len(of_four) == 12
    assert {row["threads"] for row in of_four} == {4}
    assert run(store, "results", "--configuration", FEW.digest[:8], "--json").json == of_four


def test_csv_and_json_at_once_are_refused(make: Make) -> None:
    for command in ("results", "predict"):
        refused(run(make(12, 0), command, "-d", "made-up", "--csv", "--json"), "--csv and --json")


@pytest.mark.parametrize("name", ["predict", "dataset", "audit"])
def test_too_few_networks_are_refused_with_the_command_that_measures_more(make: Make, name: str) -> None:
    done = run(make(9, 0), *ONE[name], "-d", "made-up")
    refused(done, "device 'made-up': 9 networks", "needs 10", f"{measure_command(MANY)} --models design:1")


def test_a_store_with_only_failures_says_so_and_shows_the_last(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = new_store(path)
    store.add_failure(make_failure(message="first"))
    store.add_failure(make_failure(number=2, message="out of memory"))
    store.close()
    for arguments in ONE.values():
        done = run(path, *arguments, "-d", "made-up")
        refused(
            done,
            "only failures are stored (2, the last: out of memory)",
            "results --device made-up --failures",
        )


@pytest.mark.parametrize("name", ["predict", "dataset"])
def test_bad_priors_are_refused(make: Make, name: str) -> None:
    store = make(12, 9)
    arguments = [*ONE[name], "--configuration", MANY.digest, "--prior"]
    refused(run(store, *arguments, "zz"), "--prior 'zz'", MANY.digest[:8], "harness results")
    refused(run(store, *arguments, MANY.digest[:8]), "is the configuration itself")
    refused(run(store, *arguments, FEW.digest[:8]), "9 networks", measure_command(FEW))
    add_twins(store)
    refused(
        run(store, *arguments, twin_prefix()), "configurations begin so", "write more of the id:\n  --prior "
    )


def test_a_prior_for_measured_networks_alone_is_refused(make: Make) -> None:
    refused(run(make(12, 9), *ONE["dataset, measured only"], "--prior", "a"), "--prior", "--measured-only")


def twins() -> list[str]:
    """Return made-up runtime versions whose configurations' ids begin alike."""
    found: dict[str, str] = {}
    for number in range(1000):
        version = f"{number}"
        prefix = replace(MANY, runtime_version=version).digest[:2]
        if prefix in found:
            return [found[prefix], version]
        found[prefix] = version
    raise AssertionError("no two of 1,000 digests begin alike")


def twin_prefix() -> str:
    return replace(MANY, runtime_version=twins()[0]).digest[:2]


def add_twins(path: Path) -> None:
    store = Store(str(path))
    for version in twins():
        configuration = replace(MANY, runtime_version=version)
        calibrate(store, configuration)
        add_sessions(store, networks(1), configuration)
    store.close()


def test_the_command_that_measures_more_names_what_makes_the_configuration() -> None:
    cuda = replace(MANY, provider="CUDAExecutionProvider", cores=(), device="rack")
    assert measure_command(cuda) == "harness measure --device rack --runtime onnxruntime:cuda --threads 2"
    assert measure_command(MANY) == "harness measure --device made-up --runtime onnxruntime --cores 4,5"
