"""Settings of the study: a text that gives back the same ones, and refusals with remedies."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from factories.own_spaces import DEFINITION, own_space, write_space

from search.study.settings import QUICK, StudySettings
from space.errors import ConfigError


def test_settings_come_back_from_their_text() -> None:
    for settings in (StudySettings(), QUICK):
        again = StudySettings.from_json(settings.to_json())
        assert again == settings
        assert again.digest == settings.digest
    assert QUICK.digest != StudySettings().digest
    assert StudySettings.from_json('{"seeds": 12, "marks": [20, 60]}').marks == (20, 60)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "the text is not JSON"),
        ("[]", "study is list; write an object"),
        ('{"sedes": 3}', "did you mean 'seeds'"),
        ('{"seeds": 0}', "seeds = 0; give a whole number of at least 1"),
        ('{"seeds": "3"}', "seeds = '3'"),
        ('{"decisive": 7}', "name one of the marks: 5, 10, 20, 40"),
        ('{"marks": [20, 10]}', "rising"),
        ('{"marks": 20}', "marks = 20; give a list of whole numbers of at least 1"),
        ('{"first": 40}', "it takes part of the budget of 40"),
        ('{"tuned": 2}', "two networks have no rank correlation"),
        ('{"libraries": 0}', "networks are fine-tuned from a library"),
        ('{"recipe": {"epoch": 3}}', "did you mean 'epochs'"),
        ('{"distil": 3}', "distil = 3; give an object of its fields"),
        ('{"distil": {"epoch": 3}}', "study: distil has no 'epoch'; did you mean 'epochs'"),
        ('{"supernet": {"epochs": 0}}', "epochs = 0; give a whole number of at least 1"),
        ('{"lana": {"views": 2, "epochs": 1}}', "views = 2; 1 epochs cannot use that many"),
    ],
)
def test_bad_settings_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StudySettings.from_json(text)


def test_every_setting_is_in_the_text() -> None:
    names = {item.name for item in dataclasses.fields(StudySettings)}
    assert set(json.loads(StudySettings().to_json())) == names


def test_a_study_takes_a_space_of_ones_own_where_it_has_stages(tmp_path: Path) -> None:
    config = own_space()
    assert config.chain is not None
    assert StudySettings(space=str(Path(config.chain.folder, "mine.toml"))).config == config
    both = 'candidates = ["mb", "ghost"]\nchannels = 8\n'
    outer, inner = f'[[sites]]\n{both}choice = "outer"\n', f"[[sites]]\n{both}"
    enclosed = f"{DEFINITION.partition('[[sites]]')[0]}{outer}{inner}{outer}[head]\nmodule = 'linear'\n"
    with pytest.raises(
        ConfigError, match="with sites of other choices between them; give it a choice of its own"
    ):
        StudySettings(space=str(write_space(tmp_path, enclosed)))
