"""Which stored configuration a name means, alike for limits, joins and blockwise searches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from factories.stores import FEW, MANY, add_sessions, calibrate, networks, new_store, stored

from harness.store import Store
from harness.store.configurations import configuration_id, describe, find_configuration
from space import TINY
from space.errors import ConfigError
from space.selection import select_models


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(segments=False))
    with Store(str(path)) as opened:
        yield opened


@pytest.mark.parametrize("subject", ["made-up", "made-up:onnxruntime", "made-up:onnxruntime:cpu"])
def test_a_device_means_its_configuration_that_runtime_and_threads_leave(store: Store, subject: str) -> None:
    assert find_configuration(store, subject, threads=4) == FEW
    assert find_configuration(store, subject, threads=2) == MANY


def test_an_id_means_its_configuration(store: Store) -> None:
    for configuration in (FEW, MANY):
        assert find_configuration(store, configuration_id(configuration)) == configuration


def test_several_configurations_are_refused_with_what_names_one(store: Store) -> None:
    with pytest.raises(
        ConfigError, match=r"2 configurations, which are never merged; name --threads . or an id in"
    ) as caught:
        find_configuration(store, "made-up")
    for configuration in (FEW, MANY):
        assert f"\n  {configuration_id(configuration)}   made-up, " in str(caught.value)
    assert "networks measured: 60" in str(caught.value)


def test_a_device_of_which_nothing_is_stored_is_refused_with_the_line_that_measures_it(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'made-up'\? \(stored: made-up\)") as caught:
        find_configuration(store, "made-pu", space="tiny")
    assert str(caught.value).endswith("harness measure --device made-pu --space tiny")


@pytest.mark.parametrize("subject", ["made-up", configuration_id(FEW)])
def test_a_configuration_of_another_space_is_refused_with_the_line_that_measures_this_one(
    store: Store, subject: str
) -> None:
    with pytest.raises(ConfigError, match="measurements of space 'blox', not of 'tiny'") as caught:
        find_configuration(store, subject, threads=4, space="tiny")
    assert str(caught.value).endswith("harness measure --device made-up --space tiny --models design:1")


def test_of_two_spaces_the_one_that_is_asked_for_is_meant(tmp_path: Path) -> None:
    small = replace(MANY, space="tiny")
    with new_store(tmp_path / "two.sqlite") as store:
        for configuration, some in ((MANY, networks(3)), (small, select_models("sample:3@1", TINY))):
            calibrate(store, configuration)
            add_sessions(store, some, configuration, sessions=1)
        assert find_configuration(store, "made-up", space="tiny") == small
        assert find_configuration(store, "made-up", space="blox") == MANY


def test_a_description_names_the_space_where_it_is_not_blox() -> None:
    assert "space" not in describe(MANY)
    assert describe(replace(MANY, space="tiny")).startswith("made-up: space tiny, ")
