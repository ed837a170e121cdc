"""Checked values: what each kind of field takes and refuses, and texts and digests that stay those of the first versions."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest

from search.checked import Checked, Range
from search.distillation.recipe import DistilRecipe
from search.study.settings import QUICK, StudySettings
from search.training.augment import MILD, Augmentation
from search.training.recipe import PUBLISHED, SHORT, Recipe
from search.training.tasks import load_task
from search.work.trainings import together_unit, training_unit
from space import TINY, Architecture
from space.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner(Checked):
    """A value within another one."""

    NAME: ClassVar[str] = "inner"

    share: Annotated[float, Range(least=0, below=1)] = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer(Checked):
    """A value with a field of each kind."""

    NAME: ClassVar[str] = "outer"

    count: Annotated[int, Range(least=1), "How many."] = 3
    rate: Annotated[float | None, Range(above=0)] = None
    word: Annotated[str, ("left", "right")] = "left"
    marks: Annotated[tuple[int, ...], Range(least=1, most=9)] = (1, 2)
    is_odd: bool = False
    inner: Inner = Inner()
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    other: object = None


def test_a_value_comes_back_equal_from_its_text() -> None:
    value = Outer(
        count=7, rate=2, word="right", marks=(3,), is_odd=True, inner=Inner(share=0), more={"a": [1]}
    )
    assert Outer.from_json(value.to_json()) == value
    assert type(value.rate) is float and Outer.from_json("{}") == Outer()
    assert json.loads(value.to_json()) == value.to_plain()
    assert list(json.loads(value.to_json())) == sorted(one.name for one in dataclasses.fields(Outer))


def test_values_are_compared_by_their_fields_or_where_they_are_not_to_be_by_identity() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True, eq=False)
    class Apart(Checked):
        count: int = 1

    assert Outer(count=2) == Outer(count=2) != Outer(count=3)
    assert hash(Inner(share=0.25)) == hash(Inner(share=0.25))
    assert Apart() != Apart()


def test_a_list_becomes_a_tuple_and_an_object_the_inner_value() -> None:
    found = Outer.from_plain({"marks": [4, 5], "inner": {"share": 0.25}})
    assert found == Outer(marks=(4, 5), inner=Inner(share=0.25))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count = 0; give a whole number of at least 1"),
        ({"count": True}, "count = True; give a whole number"),
        ({"count": 2**63}, "count = 9223372036854775808"),
        ({"count": None}, "count = None"),
        ({"rate": 0}, "rate = 0; give a finite number above 0"),
        ({"rate": 10**400}, "rate = 1000"),
        ({"count": 10**400}, "count = 1000"),
        ({"rate": math.nan}, "rate = nan; give a finite number above 0"),
        ({"rate": math.inf}, "rate = inf; give a finite number above 0"),
        ({"rate": "1"}, "rate = '1'"),
        ({"word": "lefft"}, "word = 'lefft'; there is no 'lefft'; did you mean 'left'"),
        ({"word": "up"}, "word = 'up'; choose one of left, right"),
        ({"word": 5}, "word = 5; give a text"),
        ({"marks": 5}, "marks = 5; give a list of whole numbers from 1 to 9"),
        ({"marks": [1, 10]}, r"marks = \[1, 10\]; give a list of whole numbers from 1 to 9"),
        ({"is_odd": 1}, "is_odd = 1; give true or false"),
        ({"inner": 0.5}, "inner = 0.5; give an Inner"),
        ({"more": []}, r"more = \[\]; give an object of its fields"),
    ],
)
def test_a_value_that_is_not_of_its_field_is_refused_with_what_to_give(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^outer: {message}"):
        Outer(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "^outer: the text is not JSON"),
        ("3", "^outer is int; write an object of its fields"),
        ('{"cuont": 1}', r"^outer has no 'cuont'; did you mean 'count'\? \(there are: count, "),
        ('{"inner": {"shape": 1}}', "^outer: inner has no 'shape'; did you mean 'share'"),
        ('{"inner": {"share": 1}}', "^inner: share = 1; give a finite number from 0 to below 1"),
        ('{"inner": []}', "^outer: inner is list"),
    ],
)
def test_text_that_is_no_such_value_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Outer.from_json(text)


# --- what is stored stays -------------------------------------------------------------------------

ODD = Recipe(
    epochs=7, batch=64, learning_rate=1, nesterov=True, seed=3, augmentation=MILD, label_smoothing=0.1
)
ODD_DISTIL = DistilRecipe(
    epochs=3,
    batch=16,
    loss="mse",
    views=2,
    augmentation=Augmentation(rand_ops=0, cutout=0),
    keep_own=True,
    shared=True,
    seed=1,
    weight_decay=1,
)
# Computed by the version before these classes had a base; of a study by the first one with the published forms of methods.
DIGESTS = [
    (PUBLISHED, "efc7464dc06bebdc28e28c9271c23a76a7cbbf716de149c67821d0e17026b3e3"),
    (SHORT, "5df9d949306562fd67561ef58cf4ceaa52851ca1bc6126692a930274964b6b17"),
    (ODD, "172691a4ba0749b4275f955ac3843a12e9dc20504de6897bf5e271eac898a2e1"),
    (DistilRecipe(), "ff5bf99b5c9d5437ca96c28de0718fbe9a4209d82535fd93daf1b7f2c34bcdd1"),
    (ODD_DISTIL, "5f89e555f8860f754e02ad52bfe1ce264ac579610b89dc76aeea065ab20cae6a"),
    (StudySettings(), "26c36e166776c3af8c407f61c9d705adf166e36e3ee7ae5a34c0a54776e75f29"),
    (QUICK, "fc8ae6156e20c9d6958b9d647cc0860540ce46261887d4d2ad341078f359dcf3"),
]


@pytest.mark.parametrize(("value", "digest"), DIGESTS)
def test_digests_are_those_of_older_versions(value: Checked, digest: str) -> None:
    assert value.digest == digest
    assert type(value).from_json(value.to_json()) == value


def test_recipes_of_older_files_are_read() -> None:
    odd = (
        '{"augmentation": {"crop_padding": 4, "cutout": 0, "flip": 0.0, "magnitude": 14, "magnitude_bins": 31, "ops": '
        '["identity", "shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness", "color", "contrast", '
        '"sharpness", "posterize", "solarize", "autocontrast", "equalize"], "rand_ops": 0}, "batch": 64, "channels_last": false, '
        '"epochs": 7, "label_smoothing": 0.1, '
        '"learning_rate": 1.0, "mixed_precision": false, "momentum": 0.9, "nesterov": true, "seed": 3, '
        '"weight_decay": 0.0005}'
    )
    assert Recipe.from_json(odd) == ODD
    # What a file leaves out of an augmentation is as published, whatever the recipe's own default is.
    assert DistilRecipe.from_json('{"augmentation": {"flip": 0.25}}').augmentation == Augmentation(flip=0.25)
    assert Recipe.from_json('{"batch": 64, "augmentation": {"ops": ["rotate"]}}') == Recipe(
        batch=64, augmentation=Augmentation(ops=("rotate",))
    )
    # And of a study's recipes, as the study's are.
    assert StudySettings.from_json('{"tuning": {"epochs": 9}}').tuning == dataclasses.replace(
        StudySettings().tuning, epochs=9
    )


def test_keys_of_units_are_those_of_older_versions() -> None:
    task = load_task("digits", TINY)
    units = [
        training_unit(Architecture.parse(text, TINY), task, SHORT) for text in ("conv/bconv", "conv/conv")
    ]
    assert [one.key for one in (*units, together_unit(units))] == [
        "7112030be22ca979258a9d0a98fd65bbe675420c5c3b456c537c5ea517e99b54",
        "fdcef2acfbee96a2546d292794c548dde78fb9d7958cff5fceee26c8fc27b64f",
        "475ad6919184deea27e9e3c2e18ae1d1580f2673d11cdd6145da6f420e5ca4c6",
    ]
