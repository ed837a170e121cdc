"""The archive: one file, the same everywhere, for Python 3.8 and nothing but the standard library."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from rigs.agent_client import Client, sha256
from rigs.agent_jobs import SURE_PLAN, measured
from rigs.other_pythons import find_interpreters, stand_in

import device_agents
from device_agents.archive import COMMENT, build_archive
from device_agents.runtimes.loaded import output_sums

PACKAGE = Path(device_agents.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
RUNTIME_PACKAGES = {"numpy", "onnxruntime", "ai_edge_litert", "tflite_runtime", "tensorflow"}


def test_each_build_gives_the_same_bytes(tmp_path):
    data, digest = build_archive()
    assert build_archive()[0] is data and digest == sha256(data)
    # another process, another time zone, another hash seed, sources with other times and modes
    copy = tmp_path / "elsewhere/device_agents"
    shutil.copytree(PACKAGE, copy)
    for path in copy.rglob("*.py"):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-c", "from device_agents.archive import build_archive; print(build_archive()[1])"],
        cwd=copy.parent,
        env={**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1", "PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest


def test_holds_the_agent_and_no_tests_nor_its_own_builder():
    entries = zipfile.ZipFile(io.BytesIO(build_archive()[0])).infolist()
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    names = [entry.filename for entry in entries]
    assert "__main__.py" in names and "device_agents/runtimes/tflite.py" in names
    assert not [name for name in names if "test" in name or "archive" in name or not name.endswith(".py")]
    assert len(zlib.compress(build_archive()[0], 9)) < 128000, "what is sent to a device"


def test_what_is_sent_of_the_agent_is_its_code_line_by_line_without_comments():
    with zipfile.ZipFile(io.BytesIO(build_archive()[0])) as archive:
        for name in archive.namelist():
            source, sent = PACKAGE.parent / name, archive.read(name)
            if name != "__main__.py":
                here = ast.dump(ast.parse(source.read_bytes()), include_attributes=True)
                assert ast.dump(ast.parse(sent), include_attributes=True) == here, name
                windows = COMMENT.sub(b"", source.read_bytes().replace(b"\n", b"\r\n"))
                assert windows.replace(b"\r\n", b"\n") == sent, name


def test_a_runtime_of_ones_own_is_packed_as_it_is():
    source = b'KERNEL = """\n#include <math.h>\n"""\n'
    archive = zipfile.ZipFile(io.BytesIO(build_archive({"my-own": source})[0]))
    assert archive.read("device_agents/runtimes/outside/my_own.py") == source


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
class TestEachSource:
    def test_is_packed_with_the_same_code_on_the_same_lines(self, path):
        archive = zipfile.ZipFile(io.BytesIO(build_archive()[0]))
        name = str(path.relative_to(PACKAGE.parent))
        if name in archive.namelist():
            packed, source = ast.parse(archive.read(name)), ast.parse(path.read_bytes())
            assert ast.dump(packed, include_attributes=True) == ast.dump(source, include_attributes=True)

    def test_has_the_syntax_of_python_3_8(self, path):
        ast.parse(path.read_text(), feature_version=(3, 8))

    def test_imports_the_standard_library_and_itself_at_the_top_and_runtimes_only_where_used(self, path):
        tree = ast.parse(path.read_text())
        top = set(tree.body)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module]
            else:
                continue
            for name in names:
                package = name.split(".")[0]
                if package in RUNTIME_PACKAGES:
                    assert path.parent.name == "runtimes" and node not in top, name
                else:
                    assert package in sys.stdlib_module_names | {"device_agents"}, name


def test_says_its_version(agent):
    done = subprocess.run(
        [sys.executable, str(agent), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"harness-agent 3 {agent.stem}\n"


@pytest.mark.long
def test_runs_on_each_python_of_this_machine(agent, tmp_path):
    interpreters = find_interpreters()
    if not interpreters:
        pytest.skip("this machine has no other Python than the one that runs the tests")
    for python in interpreters:
        done = subprocess.run([python, str(agent), "--version"], capture_output=True, text=True, check=True)
        assert agent.stem in done.stdout
    packages = stand_in(tmp_path / "packages")
    for python in {interpreters[0], interpreters[-1]}:
        # this interpreter's packages are not for another, so a stand-in shows that a whole session runs there
        environment = {**os.environ, "PYTHONPATH": str(packages)}
        with Client(agent, tmp_path / "root", python=python, env=environment) as client:
            answer = client.ask("hello", protocol=3, harness="test")
            assert [runtime["version"] for runtime in answer["runtimes"] if runtime["name"] == "tflite"] == [
                "0"
            ]
            part = client.put(b"part")
            assert client.ask("missing", digests=[part])["missing"] == []
            assert "time_utc" in client.ask("probe")["conditions"]
            recipe = {"format": "tflite", "alignment": 1, "parts": [part]}
            job = {"networks": [recipe, recipe], "reference": recipe, "runtime": "tflite", "threads": 1}
            events, answer = client.run({**job, "plan": SURE_PLAN, "silence_s": 60})
            assert (answer["type"], answer["measured"]) == ("result", 2), json.dumps(answer)
            for number in range(2):
                assert measured(events, number)["output"] == output_sums([0.5] * 10)
            assert client.ask("evict", max_bytes=0)["removed_bytes"] == 4
            assert client.end() == 0
