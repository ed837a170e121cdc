"""The keys of each command's `--json` are those of json_keys.json: programs read them.

Where a key is to change, say so in CHANGELOG.md and write the file anew:
PYTHONPATH=.:tests python tests/harness/commands/test_outputs.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rigs.commands import run
from rigs.output_cases import CASES, ROOT, keys_of, prepare, run_case, without_times
from rigs.short_campaigns import any_core, short_levels

import exporters

KEYS = Path(__file__).with_name("json_keys.json")
DOCUMENTS = [name for name, one in CASES.items() if "--json" in one.arguments]
WITH_KEYS = [name for name in DOCUMENTS if name != "study"]  # half a minute: test_study.py has its document


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    prepare(folder)
    return folder


@pytest.mark.converter
@pytest.mark.training
@pytest.mark.parametrize("name", WITH_KEYS)
def test_a_document_has_the_keys_that_programs_read(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporters, "standalone", lambda *_, **__: b"a model")
    # Checks, whose keys are those of all others.
    monkeypatch.setattr("harness.devices.doctor._trials", lambda *_: [])
    monkeypatch.chdir(folder)
    with any_core(), short_levels():
        done = run(CASES[name].store, *CASES[name].arguments)
    assert done.status == 0, done.stderr
    assert known(sorted(keys_of(done.json))) == known(json.loads(KEYS.read_text())[name])


def known(keys: list[str]) -> list[str]:
    """Return keys without those of findings, which a measurement may have or not."""
    return [key for key in keys if "findings[]" not in key]


def test_every_command_that_prints_a_document_is_among_the_cases() -> None:
    commands = {
        path.stem.replace("_", " ").strip()
        for path in (ROOT / "harness/commands").glob("*.py")
        if "json_output: JsonFlag" in path.read_text()
    }
    held = {" ".join(word for word in CASES[name].arguments[:2] if word.isalpha()) for name in DOCUMENTS}
    named = {command for command in commands if any(one.startswith(command) for one in held)}
    assert commands == named


def test_keys_are_found_in_lists_and_times_are_left_out() -> None:
    document = {"a": [{"b": 1}, {"c": {"d": 2}}], "train_s": 3, "note": "took 2.5 s", "made_utc": ""}
    assert sorted(keys_of(document)) == ["a", "a[].b", "a[].c", "a[].c.d", "made_utc", "note", "train_s"]
    assert without_times(document) == {"a": [{"b": 1}, {"c": {"d": 2}}], "note": "took TIME"}


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        prepare(Path(made))
        keys = {name: run_case(name, Path(made))["keys"] for name in WITH_KEYS}
    KEYS.write_text(json.dumps(keys, indent=1) + "\n")
