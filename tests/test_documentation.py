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
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line for kind, block in BLOCKS if not kind for line in block.splitlines() if line.startswith("harness ")
] + re.findall(r"`(harness \w+[^`]*)`", README)


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


def test_every_device_in_the_readme_is_valid() -> None:
    tables = [block for kind, block in BLOCKS if kind == "toml"]
    devices = parse_devices("\n".join(tables))
    assert set(devices) == {"local", "pixel", "pi4", "desktop-gpu"}
    assert all(len(table.strip().splitlines()) <= 6 for table in tables)


def command_of(line: str) -> str:
    """Return a line's command with its subcommand, if it has one."""
    words = line.split()
    return " ".join(words[1:3]) if words[1] == "dataset" else words[1]


@pytest.mark.parametrize("command", sorted({command_of(c) for c in COMMANDS}))
def test_every_option_of_a_command_in_the_readme_exists(command: str) -> None:
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


def test_the_readme_links_to_files_that_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith(("http", "#"))]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_links_to_headings_of_its_own() -> None:
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)}
    links = re.findall(r"\]\(#([^)]+)\)", README)
    assert links
    assert set(links) - headings == set()


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
