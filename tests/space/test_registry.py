"""Spaces by name, by file and from other packages."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from factories.own_spaces import CANDIDATES, DEFINITION, FEW_SITES, own_space, write_space

from space import BLOX, ArchitectureError, find_space
from space.definition import definition_key, read_definition
from space.errors import ConfigError
from space.registry import known_spaces, space_name


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a folder for what is kept, and no definition that another test has read."""
    monkeypatch.setattr("space.registry._defined", {})
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def added(monkeypatch: pytest.MonkeyPatch, value: object, name: str = "theirs") -> None:
    """Make `value` what an installed package calls the space `name`."""
    point = EntryPoint(name=name, value="their_package:SPACE", group="harness.spaces")
    monkeypatch.setattr("space.registry.plugins", lambda group: {name: point})
    monkeypatch.setattr("space.plugins.plugins", lambda group: {name: point})
    monkeypatch.setattr("space.registry.load_plugin", lambda group, name: value)


def test_a_definition_is_found_by_its_file_itself_and_then_by_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_space(tmp_path)
    found = find_space(str(path))
    assert found == own_space() and found.chain is not None and found.chain.folder == str(tmp_path)
    assert find_space(found) == find_space(found.name) == find_space("mine") == found
    assert space_name(str(path)) == space_name(found) == space_name("mine") == found.name
    assert (space_name("blox"), space_name(""), space_name("mine@0123456789ab")) == (
        "blox",
        "",
        "mine@0123456789ab",
    )
    assert found in known_spaces() and BLOX in known_spaces()
    with monkeypatch.context() as patch:
        patch.setattr("space.registry._defined", {})
        assert found in known_spaces()  # from the folder of what was kept
        with pytest.raises(ArchitectureError, match="space 'mine' is not known"):
            find_space("mine")  # which this process has not read
    path.write_text(DEFINITION.replace("classes = 7", "classes = 9"))
    other = find_space(str(path))
    assert other.name != found.name and find_space(found.name) == found
    with pytest.raises(ArchitectureError, match="space 'mine' is not known"):
        find_space("mine")  # which of the two is not said


def test_what_was_traced_before_needs_no_torch_and_changed_code_is_traced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_space(tmp_path, FEW_SITES)
    found = find_space(path)
    with monkeypatch.context() as patch:
        patch.setattr("space.registry.defined_space", lambda *given: pytest.fail("was traced again"))
        assert find_space(path) == found
    code = tmp_path / "own_ops.py"
    code.write_text(code.read_text().replace("torch.relu", "torch.tanh"))
    assert find_space(path) != found
    known = code.read_text() + "\nif False:\n    "
    for seen in ("from dataclasses import dataclass\n", "import torch.nn.functional as F\n    F.relu(x)\n"):
        code.write_text(known + seen)
        assert definition_key(read_definition(path), str(tmp_path))
    for hidden in (
        "import numpy\n",
        "import random\n",
        "from .sibling import x\n",
        "import importlib\n",
        "open('x')\n",
        "torch.load('x')\n",
        "from torch import load as l\n",
        "torch.from_file('x')\n",
        "torch.cuda.is_available()\n",
        "print(__file__)\n",
    ):
        code.write_text(known + hidden)
        kept = sorted((tmp_path / "data" / "harness" / "spaces").iterdir())
        find_space(path)
        assert sorted((tmp_path / "data" / "harness" / "spaces").iterdir()) == kept, hidden


@pytest.mark.parametrize("changed", ["mine.toml", "own_ops.py"])
def test_what_is_changed_while_it_is_read_is_not_taken_for_what_it_was(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = write_space(tmp_path), tmp_path / changed
    before = other.read_text()

    def key_before_a_change(document: Mapping[str, Any], folder: str) -> str:
        key = definition_key(document, folder)
        other.write_text(before.replace("classes = 7", "classes = 9").replace("torch.relu", "torch.tanh"))
        return key

    with monkeypatch.context() as patch:
        patch.setattr("space.registry.definition_key", key_before_a_change)
        find_space(path)
    other.write_text(before)
    assert find_space(path) == own_space()


def test_a_space_whose_code_reads_files_is_what_they_say_now(tmp_path: Path) -> None:
    reading = "from kernels import KERNEL\n" + CANDIDATES.replace(
        "few, 1, stride", "few, KERNEL, stride, KERNEL // 2"
    )
    path = write_space(tmp_path, FEW_SITES, reading)
    for kernel in (1, 3):
        (tmp_path / "kernels.py").write_text(f"KERNEL = {kernel}  # {'by' * kernel}\n")
        (tmp_path / "plain").mkdir(exist_ok=True)
        plain = CANDIDATES.replace("few, 1, stride", f"few, {kernel}, stride, {kernel // 2}")
        assert find_space(path) == find_space(write_space(tmp_path / "plain", FEW_SITES, plain))


def test_a_package_adds_a_space_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (own_space(), str(write_space(tmp_path))):
        added(monkeypatch, value)
        assert find_space("theirs") == own_space()
        assert space_name("theirs") == own_space().name
    added(monkeypatch, 3)
    with pytest.raises(ConfigError, match=r"theirs = 'their_package:SPACE' .* is 3, no space and no path"):
        find_space("theirs")
    with pytest.raises(
        ArchitectureError, match=r"did you mean 'theirs'\? \(known: blox, mini, tiny, deep, theirs\)"
    ):
        find_space("thiers")


def test_a_packages_name_means_its_space_whatever_was_read_and_none_of_harness_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(monkeypatch, own_space())
    path = write_space(
        tmp_path, DEFINITION.replace('"mine"', '"theirs"').replace("classes = 7", "classes = 9")
    )
    read = find_space(path)
    assert find_space("theirs") == own_space() and find_space(read.name) == read
    assert space_name("theirs") == own_space().name
    added(monkeypatch, own_space(), name="blox")
    assert find_space("blox") == BLOX and space_name("blox") == "blox"
    digest = own_space().name.partition("@")[2]
    with pytest.raises(ArchitectureError, match=f"space 'blox@{digest}' is defined in a file of its own"):
        find_space(f"blox@{digest}")
    with pytest.raises(ArchitectureError, match=r"\(known: blox, mini, tiny, deep\)"):
        find_space("thiers")


def test_a_definition_that_is_nowhere_is_asked_for() -> None:
    with pytest.raises(
        ArchitectureError,
        match=r"space 'mine@0123456789ab' is defined in a file of its own, not named here; name it",
    ):
        find_space("mine@0123456789ab")
    name = find_space(own_space()).name
    with pytest.raises(ArchitectureError, match=f"{name} is another space of that name"):
        find_space("mine@0123456789ab")
    with pytest.raises(ArchitectureError, match=r"absent\.toml"):
        find_space("absent.toml")
