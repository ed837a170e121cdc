"""What README.md, the pages of the site and the examples promise; harness/commands/test_documented.py runs their commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer.main

import harness
from harness.commands.app import app
from harness.devices.config import parse_devices
from space import Architecture

ROOT = Path(__file__).parents[1]
README = Path("README.md")
PAGES = (README, Path("CONTRIBUTING.md"), Path("tests/README.md"))
# Files of the reader's own, for which the tests that write and use them are there.
FILES = re.compile(r"^```\w+ title=.*?^```\n", re.MULTILINE | re.DOTALL)
DOCUMENTS = {
    path.relative_to(ROOT): FILES.sub("", path.read_text())
    for path in (*(ROOT / page for page in PAGES), *(ROOT / "docs").rglob("*.md"))
}
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
MADE = ("commands.md", "index.md")  # pages that are made when the site is built: scripts/docs_pages.py


def blocks(document: Path, kind: str) -> list[str]:
    """Return a document's blocks of a kind, "" for commands and what they print."""
    return [text for found, text in BLOCK.findall(DOCUMENTS[document]) if found == kind]


def commands(document: Path) -> list[list[str]]:
    """Return the arguments of every `harness` command that a document shows on a line of its own."""
    lines = [line for block in blocks(document, "") for line in block.splitlines()]
    found = [
        shlex.split(line, comments=True) for line in lines if re.match(r"(scripts/)?harness [a-z]", line)
    ]
    return [words[1:] for words in found]


def run(*argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=ROOT,
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
        assert device in ("pixel", "pi4", "desktop-gpu")
        assert len(table.strip().splitlines()) <= 6


def idle(command: Any) -> Any:
    """Return a command that reads its command line as ever and then does nothing, nor do its subcommands."""
    command.callback = lambda **_: None
    for subcommand in getattr(command, "commands", {}).values():
        idle(subcommand)
    return command


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if commands(d)], ids=str)
def test_every_command_in_a_document_is_one_that_harness_takes(document: Path) -> None:
    command = idle(typer.main.get_command(app))
    for words in commands(document):
        command.main(words, standalone_mode=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_command_and_option_that_a_sentence_names_exists(document: Path) -> None:
    group = typer.main.get_command(app)
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
    done = run("-c", code.replace("\nArchitecture.from", "\nassert small and Architecture.from"))
    assert done.returncode == 0, done.stderr


@pytest.mark.alone
@pytest.mark.converter
def test_the_python_of_the_readme_measures_predicts_joins_and_searches(
    harness_cache: Path, tmp_path: Path
) -> None:
    (block,) = blocks(Path("README.md"), "python")
    few = block.replace('"design:1@1"', '"sample:12@1"').replace(
        "])\n    latency", '], level="quick")\n    latency'
    )
    assert few.count("sample:12") == few.count("quick") == 1, "45 networks would take minutes"
    own = {"HARNESS_STORE": str(tmp_path / "store.sqlite"), "HARNESS_LOCK_NAME": tmp_path.name}
    own |= {"HARNESS_CACHE": str(harness_cache), "HOME": str(tmp_path)}
    done = run("-c", few, **own)
    assert done.returncode == 0, done.stderr
    assert str(Architecture.parse(done.stdout.splitlines()[-1])) == done.stdout.splitlines()[-1]


@pytest.mark.alone
@pytest.mark.converter
def test_a_script_of_30_lines_measures_predicts_joins_own_accuracies_and_searches(
    harness_cache: Path, tmp_path: Path
) -> None:
    page = (ROOT / "docs/how-to/python.md").read_text()
    for name, text in re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```', page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
    script = tmp_path / "within_a_limit.py"
    assert len(script.read_text().splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HARNESS_CACHE": str(harness_cache),
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"local: (\d+) of \1 sessions", done.stdout)
    own = (tmp_path / "accuracies.csv").read_text()
    assert f"{done.stdout.split()[-1]}," in own, done.stdout


def test_the_page_of_python_has_every_public_name() -> None:
    shown = re.findall(r"^::: harness\.(\w+)$", DOCUMENTS[Path("docs/api.md")], re.MULTILINE)
    assert sorted([*shown, "__version__"]) == sorted(harness.__all__)


def test_every_name_that_a_page_imports_is_there() -> None:
    text = "\n".join(block for document in DOCUMENTS for block in blocks(document, "python"))
    imports = re.findall(r"^from ([\w.]+) import (?:\(([^)]+)\)|([^\n]+))", text, re.MULTILINE)
    names = {
        (module, name)
        for module, many, line in imports
        for name in re.findall(r"\w+", re.sub(r"#.*", "", many or line))
    }
    assert len(names) >= 50
    check = (
        "import sys, importlib; print([n for n in {} if not hasattr(importlib.import_module(n[0]), n[1])])"
    )
    done = run("-c", check.format(sorted(names)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_file_of_the_code_that_a_page_names_is_there(document: Path) -> None:
    named = set(re.findall(r"`((?:\w+/)+\w+\.\w+|(?:\w+/)+)`", DOCUMENTS[document]))
    ours = {path for path in named if (ROOT / path.split("/")[0]).is_dir()}
    assert {path for path in ours if not (ROOT / path).exists()} == set()


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
        if path in MADE:
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


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is absent: pip install 'harness[docs]'")
    done = run("-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path), NO_MKDOCS_2_WARNING="1")
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert {page.relative_to(tmp_path).as_posix() for page in pages} >= {
        "index.html", "commands.html", "api.html", "tutorial.html", "interfaces.html", "performance.html",
    }  # fmt: skip
    for page in pages:
        parser = Loads()
        parser.feed(page.read_text())
        assert [address for address in parser.found if re.match(r"(https?:)?//", address)] == [], page
    page = (tmp_path / "api.html").read_text()
    assert page.count("<strong>Raises:</strong>") >= 10 and page.count('class="gp"') >= 8
    assert "@import" not in "".join(path.read_text() for path in tmp_path.rglob("*.css"))


def test_the_page_of_commands_has_every_command_and_option(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is absent: pip install 'harness[docs]'")
    done = run("-c", "from scripts.docs_pages import commands; print(commands())")
    assert done.returncode == 0, done.stderr
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        assert f"## harness {name}\n" in done.stdout
        for option in command.get_params(group.context_class(command, info_name=name)):
            assert option.opts[-1] in done.stdout


def test_every_benchmark_is_shown_with_its_command() -> None:
    names = {path.name for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    names.remove("peers.py")  # what fidelity.py runs beside the agent
    assert len(names) >= 10
    assert {
        name for name in names if f"benchmarks/{name}" not in DOCUMENTS[Path("docs/performance.md")]
    } == set()


def test_the_first_example_prints_facts_of_a_network() -> None:
    done = run("examples/space_facts.py", "conv/conv/conv")
    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout and "conv/conv/conv" in done.stdout


@pytest.mark.converter
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
