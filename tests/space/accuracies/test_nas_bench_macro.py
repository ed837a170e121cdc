"""Files in the form of NAS-Bench-Macro's published accuracies; every value here is made up."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.own_spaces import own_space

from space import MINI, Architecture, Space, find_space
from space.accuracies import load_accuracies
from space.errors import DatasetError

MACRO = Path(__file__).parents[3] / "examples" / "nas_bench_macro.toml"
NAMES = ("identity", "mb3_k3", "mb6_k5")
TEXT = "20122101"


@pytest.fixture(scope="module")
def macro() -> Space:
    return find_space(MACRO)


def network_of(text: str, space: Space) -> Architecture:
    return Architecture.parse("/".join(NAMES[int(digit)] for digit in text), space)


def fields(text: str, space: Space, *accuracies: float) -> dict[str, Any]:
    network = network_of(text, space)
    return {
        "test_acc": list(accuracies),
        "mean_acc": float(np.mean(accuracies)),
        "std": float(np.std(accuracies)),
        "params": network.params,
        "flops": network.macs,
    }


def write(folder: Path, content: object) -> Path:
    path = folder / "nas-bench-macro_cifar10.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_texts_are_the_networks_of_their_candidates_and_trainings_are_seeds(
    macro: Space, tmp_path: Path
) -> None:
    texts = {TEXT: (90.0, 91.0, 92.0), "00000000": (80.5, 80.5, 80.5), "22222222": (93.0, 93.5, 94.0)}
    path = write(tmp_path, {text: fields(text, macro, *values) for text, values in texts.items()})
    found = load_accuracies(path, config=macro)
    assert (found.metric, found.seeds, found.synthetic) == ("test_acc", (0, 1, 2), False)
    assert [found.at(network_of(text, macro)) for text in texts] == [91.0, 80.5, 93.5]
    assert found.seed_sd == pytest.approx(np.sqrt((2 + 0 + 0.5) / 6))
    assert load_accuracies(path, config=macro, seeds=(2,)).at(network_of(TEXT, macro)) == 92.0


def test_flops_may_count_two_for_a_multiplication_and_an_addition_and_be_left_out(
    macro: Space, tmp_path: Path
) -> None:
    rows = {text: fields(text, macro, 90.0) for text in (TEXT, "00000000")}
    for row in rows.values():
        row["flops"] *= 2
    assert load_accuracies(write(tmp_path, rows), config=macro).seeds == (0,)
    bare = {text: {"test_acc": row["test_acc"]} for text, row in rows.items()}
    assert load_accuracies(write(tmp_path, bare), config=macro).at(network_of(TEXT, macro)) == 90.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test_acc": [90.0, "91", 92.0]}, "test_acc = '91' is not percent"),
        ({"test_acc": [90.0, True, 92.0]}, "test_acc = True is not percent"),
        ({"test_acc": [90.0, 10**400, 92.0]}, "test_acc = 1000000.* is not percent"),
        ({"mean_acc": 10**400}, "mean_acc = 1000000"),
        ({"params": 10**400}, "params = 1000000"),
        ({"test_acc": []}, r"test_acc = \[\]; give a list"),
        ({"test_acc": 91.0}, "test_acc = 91.0; give a list"),
        ({"test_acc": [90.0, 91.0, 101.0]}, "test_acc = 101.0 is not percent from 0 to 100"),
        ({"test_acc": [90.0, 91.0, -1.0]}, "test_acc = -1.0 is not percent"),
        ({"test_acc": [90.0, 91.0, float("nan")]}, "test_acc = nan is not percent"),
        ({"test_acc": [90.0, 91.0, float("inf")]}, "test_acc = inf is not percent"),
        (
            {"test_acc": [90.0, 92.0], "std": 1.0},
            "test_acc has 2 numbers, and 3 for 11111111; give every network",
        ),
        ({"mean_acc": 91.5}, "mean_acc = 91.5, and its test_acc .* make 91.0000; correct one of them"),
        ({"mean_acc": None}, "mean_acc = None"),
        ({"std": 1.0}, "std = 1.0, and its test_acc .* make 0.8165"),
        ({"std": float("nan")}, "std = nan"),
        ({"params": 5}, r"params = 5, and space 'nas_bench_macro@\w+' counts \d+ for mb6_k5/identity/"),
        ({"params": True}, "params = True"),
        ({"flops": 0}, "flops = 0, and space"),
        ({"flops": "many"}, "flops = 'many'"),
        ({"latency": 3}, r"write \{text: \{test_acc: \[...\], mean_acc, std, params, flops\}\}"),
    ],
)
def test_what_is_wrong_with_a_network_is_told_with_its_text(
    macro: Space, changed: dict[str, object], message: str, tmp_path: Path
) -> None:
    rows = {text: fields(text, macro, 90.0, 91.0, 92.0) for text in ("11111111", TEXT)}
    rows[TEXT] |= changed
    path = write(tmp_path, rows)
    with pytest.raises(DatasetError, match=message) as caught:
        load_accuracies(path, config=macro)
    assert str(caught.value).startswith(
        f"{path}: network {TEXT!r} = " if "latency" in changed else f"{path}: network {TEXT}: "
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"20122101": {"test_acc": [' + "9" * 5_000 + "]}}", "is not JSON"),
        ("[]", "holds .* and no object of networks"),
        ("{}", "holds .* and no object of networks"),
        ('{"20122101": [90.0]}', r"network '20122101' = \[90.0\]; write"),
        ('{"20122101": {"acc": 90.0}}', "network '20122101' = "),
        ('{"2012210": {"test_acc": [90.0]}}', "network '2012210': space .* has 8 choices; write a digit"),
        ('{"201221012": {"test_acc": [90.0]}}', "has 8 choices"),
        ('{"2012210x": {"test_acc": [90.0]}}', "has 8 choices"),
        ('{"٢٠١٢٢١٠١": {"test_acc": [90.0]}}', "has 8 choices"),
        (
            '{"20132101": {"test_acc": [90.0]}}',
            "choice 4 has no candidate 3; it has 0 identity, 1 mb3_k3, 2 mb6_k5",
        ),
        ('{"20122101": {"test_acc": [90.0]}, "20122101": {"test_acc": [91.0]}}', "'20122101' stands twice"),
        ('{"20122101": {"test_acc": [0.9]}}', "nothing above 1: these look like shares"),
    ],
)
def test_files_of_another_form_are_refused(macro: Space, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        load_accuracies(write(tmp_path, content), config=macro)


def test_the_one_of_many_keys_that_stands_twice_is_named_at_once(macro: Space, tmp_path: Path) -> None:
    keys = [f'"{number}": {{}}' for number in (*range(300_000), 299_999)]
    path = tmp_path / "accuracies.json"
    path.write_text("{" + ", ".join(keys) + "}")
    with pytest.raises(DatasetError, match="'299999' stands twice in one object"):
        load_accuracies(path, config=macro)


def test_a_file_is_read_for_a_space_whose_choices_a_digit_names(tmp_path: Path) -> None:
    path = write(tmp_path, {"0110": {"test_acc": [50.0]}})
    network = Architecture.parse("mb/ghost/ghost/basic", own_space())
    assert load_accuracies(path, config=own_space()).at(network) == 50.0
    with pytest.raises(
        DatasetError, match=r"space 'mini' has none of 10 candidates at most; .* --space FILE.toml"
    ):
        load_accuracies(path, config=MINI)


def test_the_whole_published_space_is_read(macro: Space, tmp_path: Path) -> None:
    texts = ["".join(digits) for digits in itertools.product("012", repeat=8)]
    rows = {text: {"test_acc": [50.0 + text.count("0")] * 3} for text in texts}
    found = load_accuracies(write(tmp_path, rows), config=macro)
    assert not np.isnan(found.values).any() and set(found.seed_counts.tolist()) == {3}
    assert found.at(network_of("01200000", macro)) == 56.0


def test_a_network_of_several_texts_has_one_accuracy_whichever_of_them_a_file_has(
    macro: Space, tmp_path: Path
) -> None:
    # Within a stage, behind its first site, the order of those that do something counts.
    texts = ("20102101", "20120101", "20120110")
    path = write(tmp_path, {texts[1]: {"test_acc": [90.0, 91.0]}})
    found = load_accuracies(path, config=macro)
    assert [found.at(network_of(text, macro)) for text in texts] == [90.5] * 3
    assert found.at(network_of("21002101", macro)) is None
    rows = {text: {"test_acc": [90.0, 91.0]} for text in texts}
    assert load_accuracies(write(tmp_path, rows), config=macro).seed_sd == pytest.approx(np.sqrt(0.5))
    rows[texts[2]] = {"test_acc": [90.0, 92.0]}
    with pytest.raises(
        DatasetError,
        match=f"network {texts[2]}: network mb6_k5/.* with seed 1 is the same network as mb6_k5/.* in network {texts[1]}, and "
        "they have the accuracies 92 and 91; keep one",
    ):
        load_accuracies(write(tmp_path, rows), config=macro)


def test_a_table_may_name_one_network_twice_if_it_says_the_same_of_it(tmp_path: Path) -> None:
    config, path = own_space(), tmp_path / "mine.csv"
    path.write_text("network,acc\nmb/mb/skip/basic,50\nmb/skip/mb/basic,50\n")
    found = load_accuracies(path, config=config)
    assert found.at("mb/skip/mb/basic") == found.at("mb/mb/skip/basic") == 50.0
    assert int((found.seed_counts > 0).sum()) == 2 and found.seed_counts.max() == 1
    path.write_text("network,acc\nmb/mb/skip/basic,50\nmb/skip/mb/basic,51\n")
    with pytest.raises(
        DatasetError,
        match=r"row 2: network mb/skip/mb/basic is the same network as .* in row 1, .* 51 and 50",
    ):
        load_accuracies(path, config=config)
