"""Selections of networks: what each form names, in which order, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space import BLOX, MINI, Architecture, ArchitectureError, SpaceConfig, indexing, selection
from space.selection import select_models

ONE_STAGE = SpaceConfig(name="one", ops=("conv", "bconv"), widths=(8,), image_size=8, classes=2)
DEEP = SpaceConfig(name="deep", ops=BLOX.ops, widths=(4, 8, 16, 32), image_size=32, classes=10)


def indices(spec: str | list[str], config: SpaceConfig = BLOX) -> list[int]:
    return [a.index for a in select_models(spec, config)]


def test_all_is_the_whole_space_in_canonical_order() -> None:
    every = select_models("all")
    assert [one.index for one in every] == list(range(len(BLOX)))
    assert every[54_810] == Architecture.from_index(54_810)
    assert indices("all", MINI) == list(range(len(MINI)))


@settings(deadline=None)
@given(count=st.integers(1, 400), seed=st.integers(0, 2**40))
def test_a_sample_has_its_size_no_duplicates_and_grows_without_changing(count: int, seed: int) -> None:
    drawn = indices(f"sample:{count}@{seed}")
    assert len(set(drawn)) == count
    assert indices(f"sample:{count + 1}@{seed}")[:count] == drawn


def test_a_sample_of_everything_is_everything_in_another_order() -> None:
    drawn = indices("sample:2025", MINI)
    assert sorted(drawn) == list(range(2025)) and drawn != sorted(drawn)


def test_draws_are_those_of_every_version() -> None:
    assert indices("sample:5") == indices("sample:5@0") == [33896, 13602, 58094, 32654, 38357]
    assert indices("sample:3@7", MINI) == indices("sample:3@7", MINI)
    assert indices("sample:5@1") != indices("sample:5")
    assert indices("design:1")[:5] == [1361, 24846, 38332, 54728, 46019]


def test_samples_are_uniform_over_the_space() -> None:
    counts = Counter(i for seed in range(400) for i in indices(f"sample:5@{seed}", ONE_STAGE))
    expected = 400 * 5 / len(ONE_STAGE)
    assert len(ONE_STAGE) == 21 and sum(counts.values()) == 2000
    chi_squared = sum((counts[i] - expected) ** 2 / expected for i in range(21))
    assert chi_squared < 45.3  # 20 degrees of freedom, p = 0.001


def test_words_that_would_favor_small_numbers_are_drawn_again() -> None:
    words = iter([2**64 - 1, 2**64 - 2**64 % 21, 25])
    assert indexing._below(21, lambda: next(words)) == 4


@pytest.mark.parametrize(
    ("config", "rounds", "seed"),
    [(BLOX, 50, 0), (BLOX, 3, 9), (MINI, 45, 1), (ONE_STAGE, 1, 0), (DEEP, 100, 2)],
)
def test_in_each_round_of_a_design_each_block_stands_once_in_each_stage(
    config: SpaceConfig, rounds: int, seed: int
) -> None:
    networks, size = select_models(f"design:{rounds}@{seed}", config), len(config.blocks)
    assert len(set(networks)) == rounds * size
    for start in range(0, len(networks), size):
        for stage in range(config.stages):
            assert {a.blocks[stage] for a in networks[start : start + size]} == set(config.blocks)


@pytest.mark.parametrize("config", [BLOX, MINI], ids=lambda c: c.name)
def test_45_rounds_hold_every_pair_of_blocks_of_two_stages_once(config: SpaceConfig) -> None:
    networks = select_models("design:45@5", config)
    assert len(networks) == 2025
    for s, t in combinations(range(config.stages), 2):
        assert len({(a.blocks[s], a.blocks[t]) for a in networks}) == 2025


def test_a_design_of_all_rounds_is_the_whole_space() -> None:
    assert sorted(indices("design:45", MINI)) == list(range(len(MINI)))


def test_a_longer_design_begins_with_the_shorter_one() -> None:
    assert indices("design:3@4")[:90] == indices("design:2@4")


def test_single_networks_are_named_by_text_vector_index_or_hash_and_joined_by_commas() -> None:
    spec = (
        "conv-mbconv+in/bconv/conv+mbconv, 30,[[[1],[0,1,0,0]],[[0],[0,1,0,0]],[[0],[0,1,0,0]]],"
        "39554afd1b33a44663e653ad10137b9a"
    )
    first = Architecture.parse("conv-mbconv+in/bconv/conv+mbconv").index
    assert indices(spec) == [first, 30, 1, 0]


def test_a_network_mentioned_again_keeps_its_first_place() -> None:
    drawn = indices("sample:3")
    assert indices(f"7,sample:3,{drawn[1]},7,conv-conv/conv-conv/conv-conv") == [7, *drawn, 0]
    assert indices(["7", "sample:3,7", "0"]) == [7, *drawn, 0]
    assert indices("3,all", MINI)[:5] == [3, 0, 1, 2, 4]


def test_a_file_lists_networks_in_every_form_with_comments_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "models.txt"
    path.write_text(
        "# chosen by hand\n\n  12  # the twelfth\nconv-conv/conv-conv/conv-conv\n"
        "[[[1],[0,1,0,0]],[[0],[0,1,0,0]],[[0],[0,1,0,0]]]\n8727035c55e96f431cf0268cb2bb878c\n12\n"
    )
    assert indices(f"file:{path}") == [12, 0, 1, 91_124]
    assert indices(f"5,file:{path},6") == [5, 12, 0, 1, 91_124, 6]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"3\nconv/conv/convv\n", "models.txt, line 2: .*did you mean 'conv'"),
        (b"# nothing\n\n", "models.txt: names no network; write one a line"),
        (b"\xff\xfe", "models.txt: is not UTF-8"),
        (b"99999999\n", "models.txt, line 1: index 99999999"),
        (b"sample:3\n", "models.txt, line 1: "),
    ],
)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "models.txt"
    path.write_bytes(content)
    with pytest.raises(ArchitectureError, match=message):
        select_models(f"file:{path}")


def test_missing_huge_and_odd_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ArchitectureError, match=re.escape(f"{tmp_path / 'none'}: cannot be read: No such file")
    ):
        select_models(f"file:{tmp_path / 'none'}")
    with pytest.raises(ArchitectureError, match="cannot be read: Is a directory"):
        select_models(f"file:{tmp_path}")
    with pytest.raises(ArchitectureError, match="no path holds a zero character"):
        select_models("file:a\0b")
    path = tmp_path / "big"
    path.write_text("1\n2\n")
    monkeypatch.setattr(selection, "_MAX_FILE_BYTES", 3)
    with pytest.raises(ArchitectureError, match="big: holds more than 3 bytes"):
        select_models(f"file:{path}")
    if Path("/dev/zero").exists():
        with pytest.raises(ArchitectureError, match="/dev/zero: holds more than 3 bytes"):
            select_models("file:/dev/zero")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "models.txt"
    path.write_bytes(b"\xef\xbb\xbf3\r\n4\r\n")
    assert indices(f"file:{path}") == [3, 4]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "names no network; write all, sample:N"),
        ("  ", "names no network"),
        ([], "names no network"),
        ("1,,2", "has an empty part; remove the extra comma"),
        ("1,", "has an empty part"),
        ("sample:0", "0 selects no network; write at least sample:1"),
        ("sample:-4", "-4 selects no network"),
        ("sample:91126", "has 91125 networks; write sample:91125 or all"),
        ("sample:many", "'many' is not a number"),
        ("sample:5@", "'5@' is not a number"),
        ("sample:5@-1", "'5@-1' is not a number"),
        ("sample", "lacks its argument"),
        ("design:0", "0 selects no network"),
        ("design:2026", "write at most design:2025"),
        ("smaple:5", "'smaple' is unknown; did you mean 'sample'"),
        ("alll", "did you mean 'all'"),
        ("models", "'models' is unknown, and no file or folder here is called so; write all, sample:N"),
        ("a" * 300, "has 1 block"),
        ("lists/mine.txt", "is no architecture; a file of them is file:lists/mine.txt"),
        ("91125", "give 0 to 91124"),
        ("-1", "index -1"),
        ("f" * 32, "no network of space 'blox' has it"),
        ("conv/conv", "has 2 blocks"),
        ("1,conv/bconv/mbonv", "did you mean 'mbconv'"),
        ("9" * 5000, "has 1 block;"),
    ],
)
def test_a_selection_of_nothing_or_of_too_much_is_refused(spec: str | list[str], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message) as caught:
        select_models(spec)
    assert len(str(caught.value)) < 600


def test_a_space_too_large_to_list_still_gives_samples_and_designs() -> None:
    huge = SpaceConfig(name="huge", ops=BLOX.ops, widths=(4, 8, 16, 32, 64), image_size=32, classes=10)
    with pytest.raises(ArchitectureError, match="184,528,125 networks of space 'huge' are too many to list"):
        select_models("all", huge)
    with pytest.raises(ArchitectureError, match="is too large; write at most"):
        select_models("sample:100000000", huge)
    assert len(indices("sample:10", huge)) == 10
    assert len(indices("design:2", huge)) == 90


def test_selecting_loads_numpy_only_for_draws_and_torch_never() -> None:
    program = (
        "import sys; from space.selection import select_models; select_models('all,3');"
        "assert 'numpy' not in sys.modules;"
        "select_models('sample:3,design:1');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
