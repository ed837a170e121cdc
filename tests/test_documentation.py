"""What README.md, the site, the examples and the notebook promise; harness/commands/test_documented.py runs their commands."""

from __future__ import annotations

import ast
import base64
import functools
import inspect
import io
import json
import os
import re
import runpy
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
import yaml
from factories.stores import MANY, add_sessions, calibrate, networks, new_store
from rigs import with_tests
from rigs.made_once import computed_once

import harness
from harness.commands.app import app
from harness.devices import client
from harness.devices.answers import protocol_schema
from harness.devices.config import AdbDevice, LocalDevice, SshDevice, parse_devices
from harness.estimates import findings
from harness.measurement.plan import SCREEN
from harness.prediction.measure import measure
from space import Architecture, load_space

ROOT = Path(__file__).parents[1]
README = Path("README.md")
PAGES = (README, Path("CHANGELOG.md"), Path("CONTRIBUTING.md"), Path("tests/README.md"))
# Files of the reader's own, for which the tests that write and use them are there.
FILES = re.compile(r"^```\w+ title=.*?^```\n", re.MULTILINE | re.DOTALL)
DOCUMENTS = {
    path.relative_to(ROOT): FILES.sub("", path.read_text())
    for path in (*(ROOT / page for page in PAGES), *(ROOT / "docs").rglob("*.md"))
}
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Those of the table of cases; numbers of measurements (A, B9, B11, E4) have tests of their own.
CASES = [f"B{n}" for n in (*range(1, 9), 10, *range(12, 19))]
CASES += [
    *(f"C{n}" for n in range(1, 7)),
    *(f"D{n}" for n in range(1, 17)),
    *(f"E{n}" for n in (1, 2, 3, 5, 6, 7)),
]
# Pages that are made when the site is built: scripts/docs_pages.py.
MADE = ("CHANGELOG.md", "commands.md", "devices-file.md", "index.md")


def blocks(document: Path, kind: str) -> list[str]:
    """Return a document's blocks of a kind, "" for commands and what they print."""
    return [text for found, text in BLOCK.findall(DOCUMENTS[document]) if found == kind]


def commands(document: Path) -> list[list[str]]:
    """Return the arguments of every `harness` command that a document shows on a line of its own."""
    lines = [line for block in blocks(document, "") for line in block.replace("\\\n", "").splitlines()]
    found = [
        shlex.split(line, comments=True) for line in lines if re.match(r"(scripts/)?harness [a-z]", line)
    ]
    return [words[1:] for words in found]


def run(*argv: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=cwd,
        env={**os.environ, **variables},
        check=False,
    )


def test_the_readme_has_at_most_150_lines_and_its_output_fits_80_columns() -> None:
    assert len(DOCUMENTS[README].splitlines()) <= 150
    assert {
        line for _, block in BLOCK.findall(DOCUMENTS[README]) for line in block.splitlines() if len(line) > 80
    } == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_device_in_a_document_is_valid(document: Path) -> None:
    for table in blocks(document, "toml"):
        (device,) = set(parse_devices(table)) - {"local"}
        assert device in ("pixel", "pi4", "desktop-gpu", "orin", "coral")
        assert len(table.strip().splitlines()) <= 6


@functools.cache
def idle_harness() -> Any:
    """Return `harness`, which reads its command line as ever and then does nothing."""
    group: Any = typer.main.get_command(app)
    for command in (group, *group.commands.values()):
        command.callback = lambda **_: None
        for option in command.params:
            option.callback = None  # which looks whether a file is there: the reader's are not
        for subcommand in getattr(command, "commands", {}).values():
            subcommand.callback = lambda **_: None
    return group


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if commands(d)], ids=str)
def test_every_command_in_a_document_is_one_that_harness_takes(document: Path) -> None:
    for words in commands(document):
        idle_harness().main(words, standalone_mode=False)


WORKFLOW = re.compile(r'^```yaml title="[^"]+"\n(.*?)^```', re.MULTILINE | re.DOTALL)


def lines_of(document: object) -> Iterator[str]:
    """Yield the lines of all texts in a YAML document."""
    if isinstance(document, str):
        yield from document.splitlines()
    elif isinstance(document, dict | list):
        for one in document.values() if isinstance(document, dict) else document:
            yield from lines_of(one)


def test_the_workflow_files_of_the_gate_are_yaml_whose_commands_harness_takes() -> None:
    text = (ROOT / "docs/how-to/ci-gate.md").read_text()
    lines = [line for found in WORKFLOW.findall(text) for line in lines_of(yaml.safe_load(found))]
    shown = [line.split(" || ")[0] for line in lines if line.startswith("harness ")]
    assert len(shown) == 2
    for line in shown:
        idle_harness().main(shlex.split(line)[1:], standalone_mode=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_command_and_option_that_a_sentence_names_exists(document: Path) -> None:
    group = idle_harness()
    context = group.context_class(group, info_name="harness")
    for text in re.findall(r"`(harness [a-z][^`]*)`", DOCUMENTS[document]):
        command: Any = group
        words = text.split()[1:]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert command is not group, f"{document}: {text}"
        known = {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
        assert {word.split("=")[0] for word in words if word.startswith("-")} <= known, f"{document}: {text}"


def test_the_python_of_the_page_on_networks_runs() -> None:
    code = "\n".join(blocks(Path("docs/networks.md"), "python"))
    exec(code.replace("\nArchitecture.from", "\nassert small and Architecture.from"), {})


def test_the_page_on_a_space_of_ones_own_defines_one_space_in_both_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs/how-to/own-space.md").read_text()
    for name, text in re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```', page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    defined = runpy.run_path(str(tmp_path / "define_mine.py"))["mine"]
    assert defined == load_space(tmp_path / "mine.toml")
    assert capsys.readouterr().out.startswith("144 ")
    assert "my_ops" in sys.modules
    monkeypatch.delitem(sys.modules, "my_ops")


def test_the_page_on_a_space_of_ones_own_has_each_module_with_its_options_and_their_defaults() -> None:
    from space.candidates import ACTIVATIONS, SHIPPED

    text = section("docs/how-to/own-space.md", "What comes with it")
    told: dict[str, dict[str, Any]] = {}
    for names, options in re.findall(r"^\| (`.+?) \|.*\| (.*?) ?\|$", text, re.MULTILINE):
        values = tomllib.loads("\n".join(re.findall(r"`([^`]+)`", options)))
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), values)
    assert told.pop("module") == {}
    assert told == {
        name: {
            one.name: one.default
            for one in inspect.signature(function).parameters.values()
            if one.kind is one.KEYWORD_ONLY
        }
        for name, function in SHIPPED.items()
    }
    assert re.findall(r"`(\w+)`", text.partition("Activations are")[2].partition(".")[0]) == list(ACTIVATIONS)


def test_the_page_on_images_of_ones_own_has_each_setting_with_its_default() -> None:
    from search.training.task_source import DataSettings

    told: dict[str, str] = {}
    for cell, default in re.findall(
        r"^\| (`.+?`) \| .* \| (.+) \|$", section("docs/how-to/own-data.md", "Settings"), re.MULTILINE
    ):
        names = re.findall(r"`(\w+)`", cell)
        told |= dict(zip(names, default.replace("`", "").split(", ") * len(names), strict=False))
    settings = {one.name: one.default for one in fields(DataSettings)}
    assert told == {
        name: str(value) if value != () else "of the training images" for name, value in settings.items()
    }


SCRIPT = "within_a_limit.py"
NOTEBOOK = ROOT / "examples/measure_to_pareto.ipynb"


def write_script(folder: Path) -> Path:
    """Write the script of 30 lines on the page of Python, and the accuracies that it reads, into a folder."""
    page = (ROOT / "docs/how-to/python.md").read_text()
    for name, text in re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```', page, re.MULTILINE | re.DOTALL):
        (folder / name).write_text(text)
    return folder / SCRIPT


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of 24 networks of this device, whose times are made up."""
    path, local = tmp_path_factory.mktemp("measured") / "store.sqlite", replace(MANY, device="local")
    with new_store(path) as store:
        calibrate(store, local)
        add_sessions(store, networks(24), local, sessions=2)
    return path


@pytest.fixture
def measured_already(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder in which nothing is measured: what the store has is the answer to what fits `harness.measure`."""
    signature = inspect.signature(harness.measure)

    def stored_already(*given: Any, **named: Any) -> Any:
        return harness.results(signature.bind(*given, **named).arguments["store"])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(measured.parent / "cache"))
    for name in ("mine.sqlite", "notebook.sqlite"):
        shutil.copy(measured, tmp_path / name)
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path / "mine.sqlite"))
    monkeypatch.setattr(harness, "measure", stored_already, raising=False)
    with computed_once():
        yield tmp_path


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/python.md"])
def test_the_python_of_a_page_goes_from_measured_networks_to_one_within_limits(
    page: str, measured_already: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_script(measured_already)
    if page == "README.md":
        path.write_text(*blocks(README, "python"))
    runpy.run_path(str(path), run_name="__main__")
    found = Architecture.parse(capsys.readouterr().out.split()[-1])
    assert found.params <= (3_000_000 if page == "README.md" else 6_000_000)
    assert page == "README.md" or f"{found}," in (measured_already / "accuracies.csv").read_text()


def test_the_further_python_of_the_page_runs_too(
    measured_already: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    write_script(measured_already)
    in_one_call, with_pandas, modules = blocks(Path("docs/how-to/python.md"), "python")
    asked: list[Any] = []
    with new_store(measured_already / "three.sqlite") as store:
        for name, runtime in (("local", "onnxruntime"), ("pixel", "tflite"), ("pi4", "tflite")):
            device = replace(MANY, device=name, runtime=runtime)
            calibrate(store, device)
            add_sessions(store, networks(24), device, sessions=2)
        monkeypatch.setattr(
            "harness.query.run.verify_finalists",
            lambda answer, *_, **__: (answer, ()),
        )
        known: dict[str, Any] = {"harness": harness, "store": store, "torch": torch, "Net": torch.nn.Linear}
        exec(in_one_call, known)
        assert known["answer"][0]["local_ms"] < 9 and known["page"].stat().st_size > 1e6
        exec(with_pandas, known)
        assert known["answer"][0]["pixel_ms"] < known["pixel"].quantile(0.1)
        monkeypatch.setattr(
            harness, "measure", lambda *given, **named: asked.append((given, named)), raising=False
        )
        monkeypatch.setitem(known, "Net", lambda width: torch.nn.Conv2d(3, width, 3))
        exec(modules, known)
    ((given, named),) = asked
    inspect.signature(measure).bind(*given, **named)
    assert list(given[1]) == ["width8", "width16", "width32"]


def test_the_notebook_goes_from_measured_networks_to_a_front_and_its_picture(
    measured_already: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("matplotlib", "pandas"):
        pytest.importorskip(library)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(names["measured"]) == 24
    assert 0 < names["best"]["local_ms"] <= names["limit_ms"]
    drawn = names["axes"].lines[0].get_xydata()
    assert drawn.tolist() == names["front"][["local_ms", names["accuracy"]]].to_numpy().tolist()
    assert (drawn[1:] > drawn[:-1]).all(), "of a front each network that is slower is more accurate"
    import_module("matplotlib.pyplot").close("all")


@dataclass(frozen=True)
class Script:
    """The script of 30 lines on the page of Python, run in a folder of its own: what it printed, and its store."""

    folder: Path
    lines: int
    stdout: str

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables for others that ask the same: this device, and a store in `folder` that lacks one network."""
        store = shutil.copy(self.folder / "mine.sqlite", folder / "store.sqlite")
        with closing(sqlite3.connect(store)) as connection, connection:
            network = "select min(architecture) from sessions where purpose = 'network'"
            connection.execute(f"delete from sessions where architecture = ({network})")
        return self.home(self.folder) | {"HARNESS_STORE": str(store)}

    @staticmethod
    def home(folder: Path) -> dict[str, str]:
        """Return the variables of a user with a home of their own, on this test process's machine (`HARNESS_LOCK_NAME`)."""
        return with_tests(HOME=str(folder))


@pytest.fixture(scope="module")
def script(harness_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Script:
    folder = tmp_path_factory.mktemp("script")
    path = write_script(folder)
    own = {"HARNESS_CACHE": str(harness_cache)} | Script.home(folder)
    done = run("-m", "rigs.short_scripts", path.name, cwd=folder, **own)
    assert done.returncode == 0, done.stderr
    return Script(folder, len(path.read_text().splitlines()), done.stdout)


@pytest.mark.long
@pytest.mark.converter
def test_a_script_of_30_lines_measures_predicts_joins_own_accuracies_and_searches(script: Script) -> None:
    assert script.lines <= 30
    assert re.search(r"local: (\d+) of \1 sessions", script.stdout)
    own = (script.folder / "accuracies.csv").read_text()
    assert f"{script.stdout.split()[-1]}," in own, script.stdout


@pytest.mark.long
@pytest.mark.converter
def test_the_python_of_the_readme_measures_predicts_joins_and_searches(
    script: Script, harness_cache: Path, tmp_path: Path
) -> None:
    (block,) = blocks(Path("README.md"), "python")
    few = block.replace('"design:1@1"', '"sample:12@1"')
    assert few.count("sample:12") == 1, "45 networks would take a minute"
    (tmp_path / "few.py").write_text(few)
    own = {"HARNESS_CACHE": str(harness_cache)} | script.environment(tmp_path)
    done = run("-m", "rigs.short_scripts", str(tmp_path / "few.py"), **own)
    assert done.returncode == 0, done.stderr
    assert str(Architecture.parse(done.stdout.splitlines()[-1])) == done.stdout.splitlines()[-1]


RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
shorten = nbformat.v4.new_code_cell("from rigs.short_scripts import shorten; shorten()")
notebook.cells.insert(0, shorten)
NotebookClient(notebook, timeout=240, resources={"metadata": {"path": sys.argv[2]}}).execute()
notebook.cells.remove(shorten)
nbformat.write(notebook, sys.argv[3])
"""


def test_the_notebook_is_kept_without_outputs_and_is_a_page() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert sum(len(cell["source"]) for cell in cells) <= 70


def outputs(cells: list[dict[str, Any]], kind: str) -> list[str]:
    """Return what the cells put out of a MIME type, or as a `stream` of text."""
    found = [output for cell in cells for output in cell.get("outputs", [])]
    if kind == "stream":  # a kernel sends what a cell prints in several pieces
        streams = [
            [text for output in cell.get("outputs", []) for text in output.get("text", ())] for cell in cells
        ]
        return ["".join(texts) for texts in streams if texts]
    return ["".join(output["data"][kind]) for output in found if kind in output.get("data", {})]


@pytest.mark.long
@pytest.mark.converter
def test_the_notebook_measures_predicts_searches_and_draws(
    script: Script, harness_cache: Path, tmp_path: Path
) -> None:
    for library in ("nbclient", "ipykernel", "matplotlib", "pandas"):
        pytest.importorskip(library)
    path = tmp_path / "run.ipynb"
    own = {"HARNESS_CACHE": str(harness_cache)} | script.environment(tmp_path)
    (tmp_path / "store.sqlite").rename(tmp_path / "notebook.sqlite")
    drawn = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    done = run("-c", RUN, str(NOTEBOOK), str(tmp_path), str(path), **own, **drawn)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads(path.read_text())["cells"]
    (progress, chosen) = outputs(cells, "stream")
    assert re.search(r"local: (\d+) of \1 sessions", progress), progress
    assert "rank correlation" in chosen
    assert len([text for text in outputs(cells, "text/html") if "local_ms" in text]) == 2
    (picture,) = outputs(cells, "image/png")
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    assert image.width > 500 and len(image.getcolors(1 << 24)) > 50  # type: ignore[arg-type]


def test_the_page_of_python_has_every_public_name() -> None:
    shown = re.findall(r"^::: harness\.(\w+)$", DOCUMENTS[Path("docs/api.md")], re.MULTILINE)
    assert sorted([*shown, "__version__"]) == sorted(harness.__all__)


def test_every_argument_of_a_public_function_is_told_of() -> None:
    functions = {
        name: function for name in harness.__all__ if inspect.isfunction(function := getattr(harness, name))
    }
    texts = {name: inspect.getdoc(function) for name, function in functions.items()}
    told = {
        name: {one for one in inspect.signature(function).parameters if f"`{one}`" in texts[name]}
        for name, function in functions.items()
    }
    untold = {
        f"{name}: {one}"
        for name, function in functions.items()
        for one in inspect.signature(function).parameters
        if one not in told[name] | {"store"}
        and not any(
            f"as for `{other}`" in texts[name] and one in told[other] for other in ("measure", "search_store")
        )
    }
    assert untold == set()


DOTTED = re.compile(r"`((?:space|exporters|device_agents|search|harness)(?:\.\w+)+)(?:\([^`]*\))?`")
OTHERS = (
    *(".harness", ".json", ".py", ".sqlite"),  # files
    *(
        ".latency_predictors",
        ".runtimes",
        ".search_methods",
        ".spaces",
        ".transports",
    ),  # groups of entry points
    *(
        "harness.accuracy",
        "harness.classes",
        "harness.normalization",
        "harness.weights",
    ),  # of a model file's metadata
)


def is_there(name: str) -> bool:
    """Return whether a dotted name is a module, or what one holds: attributes and fields of classes too."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if part in getattr(found, "__annotations__", ()):
                return True
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_name_of_the_code_that_a_page_has_in_full_is_there(document: Path) -> None:
    names = {name for name in DOTTED.findall(DOCUMENTS[document]) if not name.endswith(OTHERS)}
    assert {name for name in names if not is_there(name)} == set()


def test_every_name_that_a_page_imports_is_there() -> None:
    text = "\n".join(block for document in DOCUMENTS for block in blocks(document, "python"))
    imports = re.findall(r"^from ([\w.]+) import (?:\(([^)]+)\)|([^\n]+))", text, re.MULTILINE)
    names = {
        (module, name)
        for module, many, line in imports
        for name in re.findall(r"\w+", re.sub(r"#.*", "", many or line))
    }
    assert len(names) >= 50
    assert [one for one in sorted(names) if not hasattr(import_module(one[0]), one[1])] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_file_of_the_code_that_a_page_names_is_there(document: Path) -> None:
    named = set(re.findall(r"`((?:\w+/)+\w+\.\w+|(?:\w+/)+)`", DOCUMENTS[document]))
    ours = {path for path in named if (ROOT / path.split("/")[0]).is_dir()}
    assert {path for path in ours if not (ROOT / path).exists()} == set()


def test_every_case_names_a_test_that_there_is() -> None:
    text = DOCUMENTS[Path("docs/evidence/cases.md")]
    rows = re.findall(r"^\| ([B-E]\d+) \| [^|]+ \| ([^|]*) \|", text, re.MULTILINE)
    assert [row for row, _ in rows] == CASES
    for row, held_by in rows:
        assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", held_by), row
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert re.search(rf"^ *def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"


def slugs(text: str) -> set[str]:
    """Return the anchors of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_documents_link_to_files_and_headings_that_exist(document: Path) -> None:
    text = re.sub(BLOCK, "", DOCUMENTS[document])
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = ROOT / document if not path else (ROOT / document.parent / path).resolve()
        if path.removeprefix("../") in MADE:
            continue
        if not target.is_file() or (anchor and anchor not in slugs(target.read_text())):
            broken.append(link)
    assert broken == []


class Loads(HTMLParser):
    """What a page loads when it is shown: scripts, styles, images, fonts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        loads = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
        address = values.get(loads.get(tag, "")) or ""
        if tag != "link" or values.get("rel") != "canonical":
            self.found.append(address)


@pytest.mark.long
@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is absent: pip install 'harness[docs]'")
    done = run("-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path), NO_MKDOCS_2_WARNING="1")
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert {page.relative_to(tmp_path).as_posix() for page in pages} >= {
        "index.html", "commands.html", "api.html", "tutorial.html", "interfaces.html", "performance.html", "protocol.html",
    }  # fmt: skip
    for page in pages:
        parser = Loads()
        parser.feed(page.read_text())
        assert [address for address in parser.found if re.match(r"(https?:)?//", address)] == [], page
    page = (tmp_path / "api.html").read_text()
    assert page.count("<strong>Raises:</strong>") >= 10 and page.count('class="gp"') >= 8
    assert "@import" not in "".join(path.read_text() for path in tmp_path.rglob("*.css"))


def test_the_page_of_commands_has_every_command_and_option() -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is absent: pip install 'harness[docs]'")
    page = runpy.run_path(str(ROOT / "scripts/docs_pages.py"))["commands"]()
    group = idle_harness()
    for name, command in group.commands.items():
        assert f"## harness {name}\n" in page
        for option in command.get_params(group.context_class(command, info_name=name)):
            assert option.opts[-1] in page


def test_the_page_of_devices_toml_has_every_key_of_every_transport() -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is absent: pip install 'harness[docs]'")
    page = runpy.run_path(str(ROOT / "scripts/docs_pages.py"))["devices_file"]()
    for transport in (LocalDevice, SshDevice, AdbDevice):
        for key in set(transport.model_fields) - {"name"}:
            assert f"| `{key}` |" in page, f"{transport.__name__}: {key}"


def test_every_default_of_a_key_of_devices_toml_is_in_its_description() -> None:
    for transport in (LocalDevice, SshDevice, AdbDevice):
        for key, field in transport.model_fields.items():
            if (
                not field.is_required()
                and field.default
                and key != "transport"
                and not isinstance(field.default, bool)
            ):
                text = (field.description or "").lower().partition("default: ")[2]
                assert str(field.default) in text, f"{transport.__name__}: {key} = {field.default!r}"


def section(document: str, title: str) -> str:
    """Return the text below a heading of a document, up to the next heading."""
    _, _, text = (ROOT / document).read_text().partition(f" {title}\n")
    assert text, f"{document} has no {title!r}"
    return re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0]


def test_the_page_of_the_protocol_has_the_harness_s_own_limits_and_every_verb_event_and_field() -> None:
    waits = dict(
        re.findall(
            r"^\| (.+) \| .*?([\d]+) s\b", section("docs/protocol.md", "How long the harness waits"), re.M
        )
    )
    agent = {
        "the agent's first line": client.START_TIMEOUT_S,
        "`hello`": client.HELLO_TIMEOUT_S,
        "`lock`": client.BOARD_TIMEOUT_S,
        "`sensor`": 2 * client.ANSWER_TIMEOUT_S,
        "`missing`, `probe`, `quiet`, `permissions`, `evict`": client.ANSWER_TIMEOUT_S,
        "`run`, `profile`, `memory`, `blocks`: between two frames": client.SILENCE_S,
        "`profile`, whole": client.PROFILE_S,
    }
    assert {name: float(waits[name]) for name in agent} == agent
    job = {"plan": asdict(SCREEN.plan), "silence_s": 60}
    page = DOCUMENTS[Path("docs/protocol.md")]
    assert f"{client.network_limit_s(job):.0f} s at level screen" in page
    schema = protocol_schema()
    names = {kind.split()[1] for kind in schema if " " in kind}
    for model in schema.values():
        names |= {
            *model["properties"],
            *(key for part in model.get("$defs", {}).values() for key in part["properties"]),
        }
    boot = set(schema["boot"]["properties"]) | set(schema["survey"]["properties"])
    assert {name for name in names - boot if not re.search(rf"\b{name}\b", page)} == set()


def test_the_page_of_numbers_has_each_kind_of_finding_with_the_best_grade_that_it_leaves() -> None:
    rows = dict(
        re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", section("docs/numbers.md", "Findings"), re.MULTILINE)
    )
    assert sorted(rows) == sorted(get_args(findings.Kind))
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(findings))) if isinstance(node, ast.Call)]
    for call in (call for call in calls if getattr(call.func, "id", "") in ("Finding", "_Check")):
        told = {one.arg: one.value for one in call.keywords}
        kind, cap = (
            told["kind"],
            told.get("cap", ast.Constant(findings.Finding.__dataclass_fields__["cap"].default)),
        )
        if isinstance(kind, ast.Constant) and isinstance(cap, ast.Constant):
            assert rows[kind.value].startswith("a note" if cap.value == "A" else cap.value), kind.value


def test_each_cell_of_the_tables_of_devices_says_run_emulated_never_run_or_refused() -> None:
    words = r"\*\*run\*\*|emulated|never run|refused"
    rows = re.findall(
        r"^\| (.+) \| (.+) \| (.+) \| (.+) \|$", DOCUMENTS[Path("docs/devices.md")], re.MULTILINE
    )
    states = [row[1:] for row in rows if row[1:] != ("fp32", "fp16", "int8")]
    assert len(states) >= 30
    assert [cell for row in states for cell in row if not re.match(rf"({words})\b|\*\*run\*\*", cell)] == []


def test_every_benchmark_is_shown_with_its_command() -> None:
    names = {path.name for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    names.remove("peers.py")  # what fidelity.py runs beside the agent
    assert len(names) >= 10
    assert {
        name for name in names if f"benchmarks/{name}" not in DOCUMENTS[Path("docs/performance.md")]
    } == set()


BENCHMARK = re.compile(r"benchmarks/(\w+\.py)([^`\n]*)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_option_of_a_benchmark_that_a_page_shows_is_one_that_it_takes(document: Path) -> None:
    shown = BENCHMARK.findall(DOCUMENTS[document])
    options = {(name, option) for name, words in shown for option in re.findall(r"(?<=\s)--[\w-]+", words)}
    assert {
        one for one in options if f'"{one[1]}"' not in (ROOT / "benchmarks" / one[0]).read_text()
    } == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_no_output_on_a_page_has_a_temporary_folder_of_the_machine_that_made_it(document: Path) -> None:
    assert re.findall(r"/tmp/tmp\w+", DOCUMENTS[document]) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_each_table_has_a_title_row_of_as_many_cells(document: Path) -> None:
    lines = re.sub(BLOCK, "", DOCUMENTS[document]).splitlines()
    rules = [place for place, line in enumerate(lines) if re.fullmatch(r"\|( ?:?-+:? ?\|)+", line)]
    assert [place for place in rules if lines[place - 1].count("|") != lines[place].count("|")] == []


def test_the_first_example_prints_facts_of_a_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["space_facts.py", "conv/conv/conv"])
    runpy.run_path(str(ROOT / "examples/space_facts.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "parameters" in told and "conv/conv/conv" in told


@pytest.mark.converter
@pytest.mark.alone  # beside others it may find too few slices, and say so
def test_the_second_example_measures_a_network(harness_cache: Path, tmp_path: Path) -> None:
    own = {
        "HARNESS_CACHE": str(harness_cache),
        "HOME": str(tmp_path),
    }  # a campaign of the user's own locks the device
    done = run("examples/measure_from_python.py", "bconv/bconv/bconv", **own)
    assert done.returncode == 0, done.stderr
    found = re.search(r"bconv/bconv/bconv: ([\d.]+) ms, ([\d.]+) \.\. ([\d.]+)", done.stdout)
    assert found, done.stdout
    latency_ms, low_ms, high_ms = map(float, found.groups())
    assert 0 < low_ms <= latency_ms <= high_ms
