"""Parts that come from other packages: those of the how-to pages, installed beside harness as the pages write them."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from zipfile import ZipFile

import jsonschema
import numpy as np
import pytest
from contracts.transport import TransportContract
from factories.stores import stored
from rigs.commands import refused, run
from rigs.short_campaigns import any_core, short_levels

import harness
from device_agents.archive import build_archive
from harness.devices.config import (
    Device,
    LocalDevice,
    devices_schema,
    parse_devices,
    parse_runtime,
    runtime_sources,
)
from harness.devices.runtimes import choose_runtimes
from harness.devices.transports import open_transport
from harness.devices.transports.contract import Transport
from harness.prediction.cache import latency_key
from harness.store import Store
from space.errors import ConfigError
from space.plugins import plugins

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs/how-to").glob("add-*.md"))
FILE = re.compile(r'^```\w+ title="([\w.]+)"\n(.*?)^```', re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(harness .*)$", re.MULTILINE)


def files(page: Path) -> dict[str, str]:
    return dict(FILE.findall(page.read_text()))


def install(folder: Path, page: Path) -> None:
    """Put a page's module into a folder, with the metadata that installing its pyproject.toml leaves."""
    project = tomllib.loads(files(page)["pyproject.toml"])["project"]
    for name, text in files(page).items():
        if name.endswith(".py"):
            (folder / name).write_text(text)
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder on the path with the packages of all pages."""
    folder = tmp_path_factory.mktemp("site")
    for page in PAGES:
        install(folder, page)
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        plugins.cache_clear()
        yield folder
    plugins.cache_clear()
    for name in set(sys.modules) - before:
        if (folder / f"{name}.py").exists():
            del sys.modules[name]


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Return a folder for the only packages that are found."""

    def points(group: str) -> list[EntryPoint]:
        found = distributions(path=[str(tmp_path)])
        return [point for one in found for point in one.entry_points if point.group == group]

    monkeypatch.setattr("space.plugins.entry_points", points)
    plugins.cache_clear()
    yield tmp_path
    plugins.cache_clear()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outside") / "store.sqlite"
    path.write_bytes(stored())
    return path


@pytest.fixture
def box(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    """Return the page's device; in place of docker stands a script that runs the command on this machine."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        '#!/bin/sh\n[ "$1 $2 $3" = "exec --interactive inference" ] || exit 125\nshift 3\nexec "$@"\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))  # a campaign of the user's own locks the device
    table = files(ROOT / "docs/how-to/add-transport.md")["devices.toml"]
    return parse_devices(table.replace("/opt/venv/bin/python", sys.executable))["box"]


def test_each_kind_of_part_has_its_page() -> None:
    groups = [
        name
        for page in PAGES
        for name in tomllib.loads(files(page)["pyproject.toml"])["project"]["entry-points"]
    ]
    assert sorted(groups) == [
        "harness.latency_predictors", "harness.runtimes", "harness.search_methods", "harness.transports",
    ]  # fmt: skip


# --- transports and runtimes ----------------------------------------------------------------------


class TestDockerTransport(TransportContract):
    @pytest.fixture
    def transport(self, box: Device) -> Iterator[Transport]:
        transport = open_transport(box)
        assert type(transport).__name__ == "DockerTransport"
        transport.connect()
        yield transport
        transport.close()


def test_the_keys_of_a_new_transports_devices_are_checked(site: Path) -> None:
    for table, message in (
        ('transport = "docker"', "needs the key 'container'"),
        ('transport = "docker"\ncontainer = ""', "container = '': String should have at least 1"),
        ('transport = "docker"\ncontaner = "a"', "no key 'contaner'; did you mean 'container'"),
        ('transport = "dokcer"', r"did you mean 'docker'\? \(known: local, ssh, adb, docker\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_devices(f"[devices.box]\n{table}\n")


def test_the_schema_for_editors_knows_the_keys_of_a_new_transport(site: Path) -> None:
    check = jsonschema.Draft7Validator(devices_schema()).is_valid
    box = tomllib.loads(files(ROOT / "docs/how-to/add-transport.md")["devices.toml"])["devices"]["box"]
    board = {"transport": "ssh", "address": "10.0.0.2"}
    assert check({"devices": {"box": box, "board": board, "local": {}}})
    for wrong in ({"contaner": "a"}, {"transport": "dokcer"}, {"transport": "ssh"}, {"container": 3}):
        assert not check({"devices": {"box": box | wrong}})


def test_a_device_of_a_new_transport_is_listed(site: Path, tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(files(ROOT / "docs/how-to/add-transport.md")["devices.toml"])
    done = run("sqlite://", "devices", "--devices", str(file))
    assert re.search(r"box +docker +container inference", done.stdout), done.stdout


@pytest.mark.converter
def test_a_new_runtime_travels_with_the_agent_and_is_measured_over_a_new_transport(
    box: Device, tmp_path: Path
) -> None:
    with any_core(), short_levels(), harness.open_store(str(tmp_path / "store.sqlite")) as store:
        table = harness.measure(
            box, "conv/conv", space="tiny", store=store, runtimes=["ort-plain"], level="quick", sessions=1
        )
    assert table.failures == ()
    (row,) = table
    assert (row.configuration.device, row.configuration.runtime) == ("box", "ort-plain")
    assert (row.configuration.format, row.configuration.provider) == ("onnx", "cpu")
    assert row.configuration.runtime_version.startswith("onnxruntime ")


def test_runtimes_of_other_packages_are_named_where_one_is_unknown(site: Path) -> None:
    assert parse_runtime("ort-plain") == ("ort-plain", "")
    with pytest.raises(
        ValueError, match=r"did you mean 'ort-plain'\? \(known: onnxruntime, tflite, litert, ort-plain"
    ):
        parse_runtime("ort-plian")


def test_what_a_device_lacks_for_a_new_runtime_is_told_by_its_module_and_not_by_the_runtimes_name(
    site: Path,
) -> None:
    with pytest.raises(
        ConfigError,
        match=r"no runtime 'ort-plain'.*for ort-plain the package that has the module onnxruntime$",
    ):
        choose_runtimes(LocalDevice(name="here"), {"runtimes": []}, ["ort-plain"], ())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"import nothing_of_this_name\n", "No module named 'nothing_of_this_name'"),
        (b"NAME = 'another'\n", "its NAME is 'another'"),
        (b"", "has no attribute 'NAME'"),
        (b"raise SystemExit(3)\n", "ImportError: SystemExit: 3"),
    ],
)
def test_a_runtime_that_cannot_be_used_is_told_by_its_name_and_ends_no_agent(
    source: bytes, reason: str, tmp_path: Path
) -> None:
    agent = tmp_path / "agent.pyz"
    agent.write_bytes(build_archive({"odd-one": source})[0])
    assert "device_agents/runtimes/outside/odd_one.py" in ZipFile(agent).namelist()
    code = "import device_agents.runtimes as r; print([*r.RUNTIMES]); r.RUNTIMES['odd-one'].find()"
    done = subprocess.run(
        [sys.executable, "-O", "-c", code],
        env={**os.environ, "PYTHONPATH": str(agent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "['onnxruntime', 'tflite', 'litert', 'odd-one']"
    assert done.stderr.endswith(f"{reason}\n")


def test_without_other_packages_the_agent_is_as_ever(empty: Path) -> None:
    assert runtime_sources() == {} and build_archive({}) == build_archive()


# --- search methods and predictors ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if COMMAND.search(page.read_text())], ids=lambda p: p.stem
)
def test_the_commands_of_a_page_run(page: Path, site: Path, store: Path) -> None:
    for command in COMMAND.findall(page.read_text()):
        done = run(store, *shlex.split(command.replace("pixel", "made-up -t 2"))[1:])
        assert done.status == 0, done.stderr
        (name,) = (n for points in _points(page).values() for n in points)
        assert name in done.stdout


def _points(page: Path) -> dict[str, dict[str, str]]:
    return dict(tomllib.loads(files(page)["pyproject.toml"])["project"]["entry-points"])


def test_a_search_by_a_new_method_evaluates_its_budget(site: Path) -> None:
    answer = harness.search(harness.join("synthetic"), method="climb", budget=50, seed=1)
    assert answer.trace is not None and len(answer.trace.indices) == 50
    random = harness.search(harness.join("synthetic"), method="random", budget=50, seed=1)
    assert answer.trace.scores.max() > np.median(random.trace.scores)  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_new_predictor_is_judged_with_the_others_and_predicts(site: Path, store: Path) -> None:
    with Store(str(store)) as opened:
        table = harness.predict(opened, device="made-up", threads=2)
    names = [report.name for report in table.predictor.reports]
    assert names[-1] == "by-params" and len(names) > 5
    assert table.predictor.reports[-1].errors is not None


def test_kept_latencies_are_those_of_the_predictors_installed(
    store: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        with Store(str(store)) as opened:
            configuration = opened.configurations()[0]
            return latency_key(opened, configuration, coverage=0.9, measured_only=False)

    with_it = key()
    source = site / "harness_by_params.py"
    text = source.read_text()
    source.write_text(text + "# changed\n")
    changed = key()
    source.write_text(text)
    monkeypatch.setattr("space.plugins.entry_points", lambda group: [])
    plugins.cache_clear()
    assert len({with_it, changed, key()}) == 3
    plugins.cache_clear()


# --- what cannot be used --------------------------------------------------------------------------


def add(folder: Path, package: str, group: str, line: str) -> None:
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{line}\n")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("odd = no_such_module:METHOD", "cannot be loaded: ModuleNotFoundError"),
        ("odd = math:pi", "is no search.methods.registry.SearchMethod"),
        ("odd = exits_when_imported:METHOD", "cannot be loaded: SystemExit"),
    ],
)
def test_a_method_that_cannot_be_used_is_refused_with_its_package(
    empty: Path, line: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty / "exits_when_imported.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(empty)
    add(empty, "oddities", "harness.search_methods", line)
    done = run(
        "sqlite://", "search", "--accuracies", "synthetic", "--constraint", "params<=3M", "--method", "odd"
    )
    refused(done, "harness.search_methods", "package oddities 1.0", problem, "uninstall the package")


def test_other_parts_that_cannot_be_used_are_refused_with_their_package(empty: Path, store: Path) -> None:
    add(empty, "oddities", "harness.transports", "odd = math:pi")
    with pytest.raises(
        ConfigError, match=r"oddities 1.0 has no device_class that is a harness.devices.config.Device"
    ):
        parse_devices('[devices.box]\ntransport = "odd"')
    add(empty, "others", "harness.latency_predictors", "odd = math:pi")
    plugins.cache_clear()
    refused(run(store, "predict", "-d", "made-up", "-t", "2"), "others 1.0 is no search.latency")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("odd = no_such_module", "has no source file: FileNotFoundError: module 'no_such_module' is None"),
        ("odd = no_such_package.module", "has no source file: ModuleNotFoundError"),
        ("odd = math", "has no source file: FileNotFoundError: module 'math'"),
        ("../odd = harness.version", "has a name with other characters"),
        ("odd_one = harness.version", "has a name with other characters"),
    ],
)
def test_a_runtime_that_cannot_travel_is_refused_with_its_package(
    empty: Path, line: str, problem: str
) -> None:
    add(empty, "oddities", "harness.runtimes", line)
    with pytest.raises(ConfigError, match=rf"package oddities 1.0 {re.escape(problem)}.*uninstall"):
        runtime_sources()


def test_a_device_whose_transport_is_not_installed_is_refused(empty: Path) -> None:
    with pytest.raises(ConfigError, match="device 'box': no installed package adds transport 'docker'"):
        open_transport(Device(name="box", transport="docker"))


def test_one_name_of_two_packages_is_refused_and_names_of_harness_stay_its_own(empty: Path) -> None:
    add(empty, "first", "harness.search_methods", "odd = math:pi")
    add(empty, "second", "harness.search_methods", "odd = math:e")
    add(empty, "third", "harness.search_methods", "random = math:pi")
    with pytest.raises(
        ConfigError, match=r"packages (first|second) 1.0 and (first|second) 1.0 both add 'odd'; uninstall one"
    ):
        plugins("harness.search_methods")
    assert harness.search(harness.join("synthetic"), method="random", budget=5).trace is not None
