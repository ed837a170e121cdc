"""Sources of a user's own images: what is read is written again, and what cannot be meant is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.training.task_source import DataSettings, is_own, parse_source
from space.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("folder:/data/flowers", "folder:/data/flowers"),
        ("folder:/data/flowers:seed=0,fit=exact", "folder:/data/flowers"),
        ("npz:/data/a.npz:seed=3,fit=crop", "npz:/data/a.npz:fit=crop,seed=3"),
        ("folder:/a:val=0.25,mean=0.5/0.25,std=1/2", "folder:/a:val=0.25,mean=0.5/0.25,std=1.0/2.0"),
    ],
)
def test_a_source_is_read_and_written_in_one_way(text: str, canonical: str) -> None:
    found = parse_source(text)
    assert str(found) == canonical and parse_source(canonical) == found


def test_a_path_that_is_there_is_taken_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd:fit=crop").mkdir()
    monkeypatch.chdir(tmp_path)
    found = parse_source("folder:odd:fit=crop")
    assert found.path == tmp_path / "odd:fit=crop" and found.settings == DataSettings()
    assert parse_source(str(found)) == found
    found = parse_source("folder:odd:fit=crop:fit=stretch")
    assert found.settings.fit == "stretch" and found.path == tmp_path / "odd:fit=crop"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder:", "write folder:PATH or npz:FILE"),
        ("folder:/a:b=c/d", "task has no 'b'"),
        ("folder:/a:ft=crop", "task has no 'ft'; did you mean 'fit'"),
        ("folder:/a:fit=crops", "there is no 'crops'; did you mean 'crop'"),
        ("folder:/a:seed=1,seed=2", "seed is given twice"),
        ("folder:/a:seed=x", "seed = 'x'; give a whole number"),
        ("folder:/a:seed=4294967296", "whole number from 0 to"),
        ("folder:/a:val=0", "val = 0.0; give a finite number"),
        ("folder:/a:val=0.6,test=0.4", "leaves no image to train on"),
        ("folder:/a:mean=0.5", "as many values of std"),
        ("folder:/a:mean=0.5,std=0", "std = "),
        ("folder:/a:mean=128,std=50", "from 0 to 1"),
        ("folder:/a:val=nan", "val = nan"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_source(text)


def test_only_two_kinds_are_a_users_own() -> None:
    assert is_own("folder:a") and is_own("npz:a.npz") and not is_own("a.npz") and not is_own("digits")


def test_a_path_that_no_system_can_hold_is_refused_by_what_its_settings_are_not() -> None:
    with pytest.raises(ConfigError, match=r"fit = .*choose one of exact, crop, stretch"):
        parse_source(f"folder:a:fit={'x' * 300},mean=0.5")
