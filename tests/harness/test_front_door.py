"""`import harness`: what it loads, what it offers, and that its functions answer what the commands print."""

from __future__ import annotations

import csv
import importlib
import io
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factories.stores import FEW, MANY, networks, stored
from rigs import packed_jobs
from rigs.commands import run
from rigs.examples import names_run, names_with_examples, run_example
from rigs.short_campaigns import any_core, short_levels

import harness
from harness.dataframe import Tabular
from harness.errors import AgentError, Cancelled, DeviceError
from harness.estimates.latency import LATENCY_COLUMNS, LatencyTable
from harness.measurement.campaign import Outcome
from harness.prediction import measure as measuring
from harness.prediction.space_latencies import COLUMNS
from harness.store import Store
from space import BLOX, TINY, Architecture
from space.errors import ArchitectureError, ConfigError

TESTS = Path(__file__).parents[1]
LOADED_ON_USE = (
    "numpy",
    "sqlalchemy",
    "pydantic",
    "typer",
    "rich",
    "paramiko",
    "space",
    "search",
    "exporters",
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("front") / "store.sqlite"
    path.write_bytes(stored())
    return path


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with harness.open_store(str(path)) as store:
        yield store


# --- importing ------------------------------------------------------------------------------------


def test_importing_harness_loads_no_library_and_no_other_package_of_ours_nor_a_list_of_devices_the_store() -> (
    None
):
    code = (
        f"import sys, harness; print(*sorted(sys.modules.keys() & set({LOADED_ON_USE!r})));"
        "import harness.output.devices; print(*sys.modules.keys() & {'harness.store', 'sqlalchemy'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == ([], "")


def test_every_public_name_is_there_listed_and_documented() -> None:
    assert set(harness.__all__) <= set(dir(harness))
    for name in harness.__all__:
        assert name == "__version__" or ">>> " in getattr(harness, name).__doc__, f"{name} shows no example"
    shown = {name for name in dir(harness) if not name.startswith("__")}
    assert shown == set(harness.__all__) - {"__version__"}, "what completion offers"
    with pytest.raises(AttributeError, match="no attribute 'mesure'") as found:
        harness.mesure  # type: ignore[attr-defined]  # noqa: B018
    assert (found.value.name, found.value.obj) == ("mesure", harness), "by which Python says what was meant"


def test_an_argument_of_one_name_is_of_one_kind_in_all_functions() -> None:
    everywhere = {"store", "space", "shapes", "expect", "signature", "level", "sessions", "fresh", "threads"}
    everywhere |= {"cores", "reference", "task", "wait_s", "devices_file", "log"}
    groups = {
        ("measure", "sustain", "pack"): {"device"},  # a packed job is for one
        ("compare", "compare_precisions", "predict", "results"): {"device", "runtime"},  # results: of several
        tuple(name for name in harness.__all__ if name.islower() and name != "__version__"): set(),
    }
    for names, apart in groups.items():
        kinds: dict[str, set[object]] = {}
        for one in (one for name in names for one in signature(getattr(harness, name)).parameters.values()):
            kinds.setdefault(one.name, set()).add(str(one.annotation).removesuffix(" | None"))
        checked = (set(kinds) if len(names) < 5 else everywhere) - apart
        assert {name: kinds[name] for name in checked if len(kinds[name]) > 1} == {}


def test_arguments_may_be_singular_or_plural_and_others_are_told_what_there_is(store: Store) -> None:
    table = harness.predict(store, devices="made-up", runtimes=["onnxruntime"], thread=2)  # type: ignore[call-arg]
    assert table.measured.configuration.threads == 2
    with pytest.raises(ConfigError, match="runtime 'onnx'"):
        harness.measure("local", "sample:1", store=store, runtime="onnx")  # type: ignore[call-arg]
    for named in ({"treads": 2}, {"threads": 2, "thread": 2}):
        with pytest.raises(
            TypeError, match=r"harness\.predict has no argument '.*did you mean 'threads'.*there are"
        ):
            harness.predict(store, **named)
    with pytest.raises(ConfigError, match="constraint 'params'"):  # as on the command line
        harness.search(harness.join("synthetic"), constraints="params")  # type: ignore[call-arg]
    found = harness.search_blocks  # which has both
    with pytest.raises(ConfigError, match="seeds"):
        found(store, "library", seed=1, seeds="x")  # type: ignore[arg-type]


def test_a_name_of_before_stays() -> None:
    assert harness.distil is harness.distill


def test_an_error_of_a_function_tells_its_own_arguments(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as found:
        harness.measure("local", "sample:1", store=store, runtimes=["onnx"])
    assert found.value.__notes__ == ["In Python, options are arguments: runtimes for --runtime."]
    for call in (
        lambda: harness.open_store(str(tmp_path)),  # its file is no argument `store`
        lambda: harness.results(store, device="pi5"),  # `harness measure --device pi5` is a command
        lambda: measuring.measure("local", "sample:1", store=store, runtimes=["onnx"]),  # as commands call it
    ):
        with pytest.raises(ConfigError, match=r"--(store|device|runtime)") as found:
            call()
        assert not hasattr(found.value, "__notes__")


def test_public_functions_may_be_sent_to_another_process() -> None:
    functions = [one for name in harness.__all__ if callable(one := getattr(harness, name))]
    assert functions == pickle.loads(pickle.dumps(functions))  # noqa: S301


def test_every_example_in_a_docstring_is_run_by_a_test() -> None:
    sources = [path.read_text("utf-8") for path in TESTS.rglob("test_*.py")]
    run = {name for text in sources if "run_example(" in text for name in names_run(text)}
    assert names_with_examples() - run == set()


@pytest.mark.parametrize(
    "name",
    [
        "results",
        "predict",
        "open_store",
        "load_devices",
        "HarnessError",
        "ConfigError",
        "DeviceError",
        "StoreError",
        "harness.models.results.failures",
        "harness.models.results.sustained_runs",
        "harness.devices.names.expand_names",
        "harness.devices.destination.parse_destination",
        "harness.measurement.model_faults.with_remedy",
    ],
)
def test_the_examples_in_docstrings_run(name: str, store: Store) -> None:
    run_example(name, store=store)


@pytest.mark.long
@pytest.mark.converter
def test_the_example_of_measuring_runs_on_this_machine(
    harness_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # a campaign of the user's own locks the device
    monkeypatch.setenv("HARNESS_CACHE", str(harness_cache))
    with harness.open_store(str(tmp_path / "own.sqlite")) as own, any_core(), short_levels():
        run_example("measure", store=own, device=harness.load_devices()["local"])
        run_example("sustain", store=own, device=harness.load_devices()["local"])


@pytest.mark.converter
def test_the_examples_of_packing_and_importing_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with harness.open_store("own.sqlite") as own:
        with any_core(), short_levels():
            run_example("pack", store=own)
        packed_jobs.with_agent_code(tmp_path / "job.zip", "agent", packed_jobs.UNTRIED)
        status, said = packed_jobs.run(tmp_path / "job.zip")
        assert status == 0, said
        with packed_jobs.any_core_of_a_job():
            run_example("import_results", store=own)


# --- opening a store ------------------------------------------------------------------------------


def test_a_store_is_made_where_it_is_named_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path / "lab.sqlite"))
    for url, made in (("", "lab.sqlite"), (str(tmp_path / "named.sqlite"), "named.sqlite")):
        with harness.open_store(url) as store:
            assert store.configurations() == []
        assert (tmp_path / made).exists()


# --- results --------------------------------------------------------------------------------------


def test_results_are_those_of_the_command(path: Path, store: Store) -> None:
    table = harness.results(store)
    documents = run(path, "results", "--json").json
    assert [row.graph_hash for row in table] == [document["graph_hash"] for document in documents]
    assert [row.latency_ms for row in table] == [document["latency_ms"] for document in documents]
    assert len(table) == 72
    assert table.failures == ()


@pytest.mark.parametrize("asked", [{"device": []}, {"runtime": ()}, {"models": iter(())}, {"models": []}])
def test_a_selection_that_came_out_empty_is_not_everything(store: Store, asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"{next(iter(asked))} = \[\]: name one or several"):
        harness.results(store, **asked)


def test_results_are_narrowed_by_one_or_several_of_each(store: Store) -> None:
    names = [str(network) for network in networks(3)]
    few = harness.results(store, device=["made-up"], runtime="onnxruntime", models=names[0], threads=4)
    assert [(row.architecture, row.configuration) for row in few] == [(names[0], FEW)]
    several = harness.results(store, models=names, configuration=MANY.digest[:8])
    assert sorted(row.architecture for row in several) == sorted(names)
    assert isinstance(several[:2], tuple)


@pytest.mark.parametrize("asked", [{"sessions": 0}, {"threads": 0}, {"sessions": -1}])
def test_a_measurement_of_less_than_one_is_refused(store: Store, asked: dict[str, int]) -> None:
    with pytest.raises(
        ConfigError, match=f"{next(iter(asked))} = {next(iter(asked.values()))}: give 1 or more"
    ):
        harness.measure(harness.load_devices()["local"], "conv/conv/conv", store=store, **asked)  # type: ignore[arg-type]


def test_a_negative_seed_is_refused(store: Store) -> None:
    table = harness.join("synthetic", costs=["params"])
    with pytest.raises(ConfigError, match="seed = -1: give 0 or more"):
        harness.search(table, method="random", seed=-1)
    with pytest.raises(ArchitectureError, match="seed = -1: give 0 or more"):
        BLOX.sample(2, seed=-1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device": "made-pu"}, "did you mean 'made-up'"),
        ({"runtime": "onnx"}, "unknown runtime 'onnx'"),
        ({"models": "sample:x"}, "sample:x"),
    ],
)
def test_what_fits_nothing_is_refused(store: Store, asked: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        harness.results(store, **asked)  # type: ignore[arg-type]


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_predictions_are_those_of_the_command(path: Path, store: Store) -> None:
    table = harness.predict(store, device="made-up", threads=2)
    chosen = [networks(1)[0], Architecture.from_index(17)]
    done = run(path, "predict", "-d", "made-up", "-t", "2", "-m", ",".join(map(str, chosen)), "--csv")
    printed = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["source"] for row in printed] == ["measured", "predicted"]
    asked = harness.predict(store, device="made-up", threads=2, models=chosen)
    assert asked.to_pandas().architecture.tolist() == [str(one) for one in chosen] and len(asked) == 2
    assert len(harness.join("synthetic", asked).table) == len(BLOX), (
        "whose rows are all networks all the same"
    )
    for network, row in zip(chosen, printed, strict=True):
        found = table.at(network)
        assert found.latency_ms == float(row["latency_ms"])
        assert found.interval_ms == (float(row["low_ms"]), float(row["high_ms"]))
        forms = (str(network), str(network.index), network.graph_hash)
        assert [table.at(form) for form in forms] == [found] * 3


def test_a_prediction_of_several_configurations_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="2 configurations, which are never merged"):
        harness.predict(store, device="made-up")


# --- from a store to an answer --------------------------------------------------------------------


def test_five_lines_go_from_a_store_to_a_network_within_limits(path: Path) -> None:
    with harness.open_store(str(path)) as store:
        latency = harness.predict(store, device="made-up", runtime="onnxruntime", threads=2)
    table = harness.join("synthetic", [latency])
    best = harness.search(table, ["made-up<5ms", "params<=3M"]).best
    assert latency.at(best).latency_ms < 5
    assert best.params <= 3_000_000


# --- tables as they are shown ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_table_shows_itself_by_its_first_rows_and_not_by_all_that_it_holds(store: Store) -> None:
    latency = harness.predict(store, device="made-up", runtime="onnxruntime", threads=2)
    joined = harness.join("synthetic", [latency])
    answer = harness.search(joined, "params<=3M")
    tables = (harness.results(store), latency, joined, answer, answer.front("params"))
    for table, count in zip(tables, ("72", "91,125", "91,125", "56,565", f"{len(tables[-1])}"), strict=True):
        assert repr(table) == f"<{type(table).__name__} of {count} rows; to_pandas() has them>"
        html = table._repr_html_()
        rows, every = table.head(3)
        assert f"{every:,}" == count
        assert html.count("<tr>") == 11, "a line of titles and ten networks"
        assert f"<td>{next(iter(rows[2].values()))}</td>" in html
        assert f"{count} rows" in html


def test_every_public_table_has_the_short_form() -> None:
    def below(kind: type) -> list[type]:
        return [one for sub in kind.__subclasses__() for one in (sub, *below(sub))]

    for module in ("harness.training", "harness.prediction.under_load", "harness.query.compare"):
        importlib.import_module(module)
    assert len(below(Tabular)) >= 9
    assert [one for one in below(Tabular) if "__repr__" in vars(one)] == []


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: harness.results("lab.sqlite"), "store = 'lab.sqlite': no open store"),  # type: ignore[arg-type]
        (
            lambda: harness.results(harness.open_store("sqlite://"), models=[3.5]),
            "3.5 names no network; give its text",
        ),  # type: ignore[list-item]
        (
            lambda: harness.measure(
                "local",
                [SimpleNamespace(graph_hash="0", architecture="conv")],
                store=harness.open_store("sqlite://"),
            ),
            "a SimpleNamespace names no network; give its text, as in row.architecture",
        ),
        (lambda: harness.join("synthetic", [object()]), "latencies: object is no latencies of every network"),  # type: ignore[list-item]
        (lambda: harness.predict(None), "store = NoneType: no open store"),  # type: ignore[arg-type]
        (lambda: harness.search("synthetic"), "table = str: no table of accuracies and costs"),  # type: ignore[arg-type]
        (
            lambda: harness.sustain("local", "17", 30, store=harness.open_store("sqlite://")),  # type: ignore[arg-type]
            "duration = 30: give a text with a unit",
        ),
    ],
)
def test_an_argument_of_another_kind_is_refused_by_its_name(ask: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask()


# --- other processes, and Ctrl-C -----------------------------------------------------------------


def in_another(value: Any) -> Any:
    """Return what another process gets."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


def test_results_and_errors_go_to_other_processes_and_a_store_does_not(store: Store) -> None:
    latency = harness.predict(store, device="made-up", runtime="onnxruntime", threads=2)
    answer = harness.search(harness.join("synthetic", [latency]), ["made-up<5ms"])
    for table in (harness.results(store), latency, answer, answer.front("params")):
        assert in_another(table).head(3) == table.head(3)
    for error in (
        AgentError("no-model", "gone", {"a": 1}, thing="pi4"),
        Cancelled("later"),
        ConfigError("a", "b"),
    ):
        again = in_another(error)
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    with pytest.raises(ConfigError, match="have each process open it"):
        pickle.dumps(store)


def test_ctrl_c_is_a_keyboard_interrupt_that_going_on_after_errors_does_not_swallow(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = [Outcome(device="local", error=DeviceError("no route")), Outcome(device="pi4", error=Cancelled())]
    monkeypatch.setattr(measuring, "run_all", lambda *_: ended)
    with pytest.raises(KeyboardInterrupt, match="what was measured is stored"):
        harness.measure("local", "conv/conv/conv", store=store)


# --- tables as DataFrames -------------------------------------------------------------------------


def test_tables_become_dataframes_with_units_in_their_columns(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is optional")
    measured = harness.results(store, threads=4)
    frame = measured.to_pandas()
    assert tuple(frame.columns) == LATENCY_COLUMNS
    assert frame["latency_ms"].tolist() == [row.latency_ms for row in measured]
    assert tuple(LatencyTable(rows=()).to_pandas().columns) == LATENCY_COLUMNS
    for table in (
        measured,
        LatencyTable(rows=()),
    ):  # where nothing is known, columns of numbers can be compared all the same
        assert not (table.to_pandas()[["memory_bytes", "energy_mj", "wall_p99_ms"]] > 1).any().any()
        assert {str(table.to_arrow().schema.field(name).type) for name in ("load_ms", "energy_mj")} == {
            "double"
        }
    small = tmp_path / "tiny.sqlite"
    small.write_bytes(stored(30, 0, False, TINY))
    with harness.open_store(str(small)) as opened:
        table = harness.predict(opened, device="made-up")
    whole = table.to_pandas()
    assert tuple(whole.columns) == COLUMNS
    assert whole["index"].tolist() == list(range(len(TINY)))
    assert whole["latency_ms"][17] == table.at("17").latency_ms


def test_without_pandas_or_pyarrow_a_table_is_refused_with_what_to_type(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = harness.results(store, threads=4)
    for library, convert in (("pandas", table.to_pandas), ("pyarrow", table.to_arrow)):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ConfigError, match=f"pip install {library}"):
            convert()
