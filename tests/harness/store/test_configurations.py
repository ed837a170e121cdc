"""Which stored configuration a name means, alike for limits, joins and blockwise searches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from factories.stores import FEW, MANY, add_sessions, calibrate, networks, new_store, stored

from harness.store import Store
from harness.store.configurations import (
    ConfigurationChoice,
    configuration_id,
    describe,
    find_configuration,
    fitting_configurations,
    measure_command,
    one_configuration,
    select_configurations,
    short_names,
)
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
    assert find_configuration(store, subject, ConfigurationChoice(threads=4)) == FEW
    assert find_configuration(store, subject, ConfigurationChoice(threads=2)) == MANY


def test_an_id_means_its_configuration(store: Store) -> None:
    for configuration in (FEW, MANY):
        assert find_configuration(store, configuration_id(configuration)) == configuration


def test_several_configurations_are_refused_with_what_names_one(store: Store) -> None:
    with pytest.raises(
        ConfigError, match=r"2 configurations, which are never merged; name --threads . or ., or an id in"
    ) as caught:
        find_configuration(store, "made-up")
    for configuration in (FEW, MANY):
        assert f"\n  {configuration_id(configuration)}   made-up, " in str(caught.value)
    assert "networks measured: 60" in str(caught.value)


def test_a_space_of_which_nothing_is_stored_is_refused_with_the_line_that_measures_it(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"harness measure --device made-up --space tiny$"):
        one_configuration(store, ConfigurationChoice(device="made-up", space="tiny"))
    assert str(ConfigurationChoice(device=["a", "b"], threads=2)) == "--device a --device b --threads 2"


def test_a_device_of_which_nothing_is_stored_is_refused_with_the_line_that_measures_it(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'made-up'\? \(stored: made-up\)") as caught:
        find_configuration(store, "made-pu", ConfigurationChoice(space="tiny"))
    assert str(caught.value).endswith("harness measure --device made-pu --space tiny")


@pytest.mark.parametrize("subject", ["made-up", configuration_id(FEW)])
def test_a_configuration_of_another_space_is_refused_with_the_line_that_measures_this_one(
    store: Store, subject: str
) -> None:
    with pytest.raises(ConfigError, match="measurements of space 'blox', not of 'tiny'") as caught:
        find_configuration(store, subject, ConfigurationChoice(threads=4, space="tiny"))
    assert str(caught.value).endswith("harness measure --device made-up --space tiny --models design:1")


def test_of_two_spaces_the_one_that_is_asked_for_is_meant(tmp_path: Path) -> None:
    small = replace(MANY, space="tiny")
    with new_store(tmp_path / "two.sqlite") as store:
        for configuration, some in ((MANY, networks(3)), (small, select_models("sample:3@1", TINY))):
            calibrate(store, configuration)
            add_sessions(store, some, configuration, sessions=1)
        assert find_configuration(store, "made-up", ConfigurationChoice(space="tiny")) == small
        assert find_configuration(store, "made-up", ConfigurationChoice(space="blox")) == MANY


def test_a_description_names_the_space_where_it_is_not_blox() -> None:
    assert "space" not in describe(MANY)
    assert describe(replace(MANY, space="tiny")).startswith("made-up: space tiny, ")


INT8 = replace(MANY, precision="int8")


@pytest.fixture
def two_precisions(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "two.sqlite") as store:
        for configuration in (MANY, INT8):
            calibrate(store, configuration)
            add_sessions(store, networks(3), configuration)
        yield store


def test_a_precision_behind_a_device_or_chosen_means_its_configuration(two_precisions: Store) -> None:
    for subject in ("made-up:int8", "made-up:onnxruntime:int8", "made-up:onnxruntime:cpu:int8"):
        assert find_configuration(two_precisions, subject) == INT8
    assert find_configuration(two_precisions, "made-up", ConfigurationChoice(precision="int8")) == INT8
    fp32 = ConfigurationChoice(device="made-up", precision="fp32")
    assert one_configuration(two_precisions, fp32) == MANY


def test_the_precision_behind_a_device_counts_before_the_one_chosen(two_precisions: Store) -> None:
    assert find_configuration(two_precisions, "made-up:fp32", ConfigurationChoice(precision="int8")) == MANY


def test_two_precisions_are_never_merged_and_the_refusal_names_the_option(two_precisions: Store) -> None:
    with pytest.raises(
        ConfigError, match=r"never merged; name --precision (fp32 or int8|int8 or fp32), or an id"
    ):
        find_configuration(two_precisions, "made-up")
    with pytest.raises(ConfigError, match=r"name one \(--precision (fp32 or int8|int8 or fp32), or an id\)"):
        one_configuration(two_precisions, ConfigurationChoice(device="made-up"))


def test_a_precision_that_is_not_stored_is_refused_with_those_that_are(two_precisions: Store) -> None:
    choice = ConfigurationChoice(device="made-up", precision="fp16")
    for ask in (
        lambda: fitting_configurations(two_precisions, choice),
        lambda: find_configuration(two_precisions, "made-up:fp16"),
    ):
        with pytest.raises(ConfigError, match="--precision fp16, but of fp32 and int8; name that") as caught:
            ask()
        assert "harness measure --device made-up" in str(caught.value)
        assert "--precision fp16 --models design:1" in str(caught.value)


def test_an_unknown_precision_is_refused_with_the_one_meant(two_precisions: Store) -> None:
    with pytest.raises(ConfigError, match=r"no precision 'int-8'; did you mean 'int8'\?"):
        fitting_configurations(two_precisions, ConfigurationChoice(precision="int-8"))


def test_a_short_name_has_what_tells_a_configuration_from_the_others() -> None:
    tflite = replace(MANY, runtime="tflite")
    board = replace(MANY, device="board")
    assert short_names([MANY, tflite, board]) == ["made-up:onnxruntime", "made-up:tflite", "board"]
    assert short_names([MANY, INT8]) == ["made-up:fp32", "made-up:int8"]
    four = [MANY, INT8, tflite, replace(tflite, precision="int8")]
    assert short_names(four)[3] == "made-up:tflite:int8"
    assert short_names([MANY, FEW]) == [configuration_id(MANY), configuration_id(FEW)]
    assert short_names([MANY], taken=["made-up"]) == ["made-up:onnxruntime"]


def test_a_command_line_measures_in_the_configuration_s_precision() -> None:
    assert measure_command(INT8).endswith(" --precision int8")
    assert "--precision" not in measure_command(MANY)


BATCH = replace(MANY, batch=8)


@pytest.fixture
def two_batches(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "batches.sqlite") as store:
        for configuration in (MANY, BATCH, replace(INT8, batch=64)):
            calibrate(store, configuration)
            add_sessions(store, networks(3), configuration)
        yield store


def test_a_batch_is_meant_where_it_is_named_and_one_image_elsewhere(two_batches: Store) -> None:
    assert find_configuration(two_batches, "made-up:batch8") == BATCH
    assert find_configuration(two_batches, "made-up:onnxruntime:int8:batch64").batch == 64
    assert find_configuration(two_batches, "made-up", ConfigurationChoice(batch=8)) == BATCH
    assert find_configuration(two_batches, "made-up") == MANY
    assert find_configuration(two_batches, configuration_id(BATCH)) == BATCH
    assert one_configuration(two_batches, ConfigurationChoice(device="made-up")) == MANY
    assert one_configuration(two_batches, ConfigurationChoice(configuration=BATCH.digest)) == BATCH
    assert len(select_configurations(two_batches, ConfigurationChoice(device="made-up"))) == 3
    assert select_configurations(two_batches, ConfigurationChoice(batch=8)) == [BATCH]


def test_a_batch_that_is_not_stored_is_refused_with_those_that_are(two_batches: Store) -> None:
    said = "--batch 2, but of batch 1 and 8 and 64; name that, or measure it: .*--batch 2 --models"
    with pytest.raises(ConfigError, match=said):
        one_configuration(two_batches, ConfigurationChoice(device="made-up", batch=2))
    with pytest.raises(ConfigError, match="--precision int8, but of fp32"):
        find_configuration(two_batches, "made-up:int8")


def test_a_batch_is_told_where_it_is_more_than_one_image() -> None:
    assert short_names([MANY, BATCH]) == ["made-up", "made-up:batch8"]
    assert ", batch 8 [" in describe(BATCH) and "batch" not in describe(MANY)
    assert "enable=1" in describe(replace(MANY, provider_options="enable=1"))
    assert measure_command(BATCH).endswith(" --batch 8")
