"""What README.md and the examples promise, tried."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.devices import parse_devices

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = {
    path.relative_to(ROOT): path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
}
GUIDES = "\n".join(
    text for path, text in DOCUMENTS.items() if path.name not in ("design.md", "interfaces.md")
)
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", GUIDES, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line for kind, block in BLOCKS if not kind for line in block.splitlines() if line.startswith("harness ")
] + re.findall(r"`(harness \w+[^`]*)`", GUIDES)


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


def test_every_device_in_the_guides_is_valid() -> None:
    tables = [block for kind, block in BLOCKS if kind == "toml"]
    devices = parse_devices("\n".join(tables))
    assert set(devices) == {"local", "pixel", "pi4", "desktop-gpu"}
    assert all(len(table.strip().splitlines()) <= 6 for table in tables)


def command_of(line: str) -> str:
    """Return a line's command with its subcommand, if it has one."""
    words = line.split()
    return " ".join(words[1:3]) if words[1] == "dataset" else words[1]


@pytest.mark.parametrize("command", sorted({command_of(c) for c in COMMANDS}))
def test_every_option_of_a_command_in_the_guides_exists(command: str) -> None:
    done = run("-m", "harness.commands.app", *command.split(), "--help", COLUMNS="200")
    assert done.returncode == 0
    named = {
        word.split("=")[0]
        for line in COMMANDS
        if command_of(line) == command
        for word in shlex.split(line.replace("|", " ").replace("[", " ").replace("]", " "))
        if word.startswith("-")
    }
    assert {word for word in named if not re.search(rf"(?<!\S){word}(?![\w-])", done.stdout)} == set()


def test_every_option_of_measure_in_the_readme_table_exists() -> None:
    done = run("-m", "harness.commands.app", "measure", "--help", COLUMNS="200")
    options = set(re.findall(r"^\| (`--[^|]*`) \|", README, re.MULTILINE))
    named = {word for cell in options for word in re.findall(r"--\w+", cell)}
    assert len(named) >= 8
    assert {word for word in named if word not in done.stdout} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_documents_link_to_files_and_headings_that_exist(document: Path) -> None:
    text = DOCUMENTS[document]
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if link.startswith("#") and link[1:] not in headings] == []
    files = [link for link in links if not link.startswith("#")]
    assert [link for link in files if not (ROOT / document.parent / link).exists()] == []


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
