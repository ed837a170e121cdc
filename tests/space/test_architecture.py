"""Architectures as values: text, vector, index; the canonical order; what is refused and how."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from space import BLOX, MINI, Architecture, ArchitectureError, Block, SpaceConfig

VECTORS = json.loads((Path(__file__).parent / "data" / "hash-vectors.json").read_text())["networks"]
FOUR_OPS = SpaceConfig(name="four", ops=("a", "b", "c", "d"), widths=(4, 8), image_size=8, classes=2)

# The published order of one stage as (op0, op1, prev, inp, sc), written out here by hand.
NINE = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
CELLS = [
    *((a, b, 1, 0, 0) for a, b in NINE),
    *((0, k, 0, 1, 0) for k in range(3)),
    *((a, b, 1, 1, 0) for a, b in NINE),
    *((a, b, 1, 0, 1) for a, b in NINE),
    *((a, b, 0, 1, 1) for a, b in [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)]),
    *((a, b, 1, 1, 1) for a, b in NINE),
]
RAW = list(product(range(3), range(3), (0, 1), (0, 1), (0, 1)))  # all 72 raw vectors of a stage


def nested(*stages: tuple[int, ...]) -> list[list[list[int]]]:
    return [[[raw[0]], list(raw[1:])] for raw in stages]


def meaning(raw: tuple[int, ...]) -> tuple[object, ...]:
    """What a valid raw vector computes, by the definition of the cell and nothing else."""
    op0, op1, prev, inp, sc = raw
    if not prev:  # node1 is read only by the sum
        return ("sum", tuple(sorted([op1] * inp + [op0] * sc)))
    return ("chain", op0, op1, inp, sc)


ARCHITECTURES = st.builds(Architecture.from_index, st.integers(0, len(BLOX) - 1))
ANY_CONFIG = st.sampled_from([BLOX, MINI, FOUR_OPS])


def test_blox_has_45_blocks_and_91125_networks_and_the_miniature_2025() -> None:
    assert len(set(BLOX.blocks)) == 45 and len(BLOX) == 91_125
    assert len(MINI) == 2_025
    assert len(set(FOUR_OPS.blocks)) == 4 * 16 + 4 + 10


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: str(case["index"]))
def test_the_published_vectors_stand_at_their_published_places(case: dict[str, object]) -> None:
    a = Architecture.from_vector(case["arch"])
    assert a.index == case["index"]
    assert a.vector == case["arch"]


def test_a_vector_that_is_not_canonical_means_the_canonical_network() -> None:
    a = Architecture.from_vector(nested((2, 1, 0, 0, 1), (1, 2, 0, 1, 0), (0, 2, 0, 1, 1)))
    assert str(a) == "bconv/bconv/conv+bconv"
    assert a.vector == nested((0, 2, 0, 1, 0), (0, 2, 0, 1, 0), (2, 0, 0, 1, 1))


def test_the_whole_canonical_list_follows_the_published_order() -> None:
    for i in range(len(BLOX)):
        a = Architecture.from_index(i)
        assert a.index == i
        assert a.vector == nested(CELLS[i % 45], CELLS[i // 45 % 45], CELLS[i // 2025])


@pytest.mark.slow
def test_all_250047_valid_raw_vectors_map_onto_all_91125_networks() -> None:
    """Each of the 63 of a stage means one of 45 blocks, whatever stands in the other stages."""
    valid, random = [raw for raw in RAW if raw[2:] != (0, 0, 0)], Random(0)
    assert len(valid) ** 3 == 250_047
    for stage in range(BLOX.stages):
        found = set()
        for raw in valid:
            others = [random.choices(valid, k=BLOX.stages) for _ in range(20)]
            blocks = {
                Architecture.from_vector(nested(*one[:stage], raw, *one[stage + 1 :])).blocks[stage]
                for one in others
            }
            assert len(blocks) == 1
            found |= blocks
        assert found == set(BLOX.blocks)


def test_two_raw_vectors_share_a_block_exactly_when_they_compute_the_same() -> None:
    blocks = {}
    for raw in RAW:
        if raw[2:] != (0, 0, 0):
            a = Architecture.from_vector(nested(raw, *[CELLS[0]] * 2))
            assert blocks.setdefault(meaning(raw), a.blocks[0]) == a.blocks[0]
    assert len(blocks) == len(set(blocks.values())) == 45


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("raw", [raw for raw in RAW if raw[2:] == (0, 0, 0)], ids=str)
def test_a_disconnected_stage_is_refused_by_number_and_reason(raw: tuple[int, ...], stage: int) -> None:
    stages = [CELLS[5]] * 3
    stages[stage] = raw
    with pytest.raises(ArchitectureError, match=f"stage {stage} .* is disconnected.*set at least one"):
        Architecture.from_vector(nested(*stages))


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (None, "not a list of 3 stages"),
        ([], "not a list of 3 stages"),
        (nested(CELLS[0]), "not a list of 3 stages"),
        ("[[[0]]]", "not a list of 3 stages"),
        ([*nested(CELLS[0], CELLS[0]), 7], "stage 2 = 7 has another form"),
        ([*nested(CELLS[0], CELLS[0]), [0, [0, 1, 0, 0]]], "stage 2 .* has another form"),
        ([*nested(CELLS[0], CELLS[0]), [[0], [0, 1, 0]]], "stage 2 .* has another form"),
        (nested(CELLS[0], (3, 0, 1, 0, 0), CELLS[0]), "stage 1 .* op0 = 3.*0 conv, 1 mbconv, 2 bconv"),
        (nested(CELLS[0], (0, -1, 1, 0, 0), CELLS[0]), "stage 1 .* op1 = -1"),
        (nested((0, 0, 2, 0, 0), CELLS[0], CELLS[0]), "stage 0 .* prev = 2, which is neither 0 nor 1"),
        (nested((0, 0, 0, 0, 9), CELLS[0], CELLS[0]), "stage 0 .* sc = 9"),
        (nested((0, 0, True, 0, 0), CELLS[0], CELLS[0]), "stage 0 .* other than whole numbers"),
        (nested((0, 0, 1.0, 0, 0), CELLS[0], CELLS[0]), "stage 0 .* other than whole numbers"),
    ],
)
def test_a_malformed_vector_is_refused_with_the_reason(vector: object, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_vector(vector)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("conv", (0, 0, 0, 1, 0)),
        ("bconv", (0, 2, 0, 1, 0)),
        ("conv-mbconv", (0, 1, 1, 0, 0)),
        ("conv-mbconv+in", (0, 1, 1, 1, 0)),
        ("conv-mbconv+out", (0, 1, 1, 0, 1)),
        ("conv-mbconv+in+out", (0, 1, 1, 1, 1)),
        ("conv+bconv", (2, 0, 0, 1, 1)),
    ],
)
def test_each_wiring_has_its_text(text: str, cell: tuple[int, ...]) -> None:
    a = Architecture.parse(f"{text}/bconv/conv+mbconv")
    assert a.vector[0] == nested(cell)[0]
    assert str(a) == f"{text}/bconv/conv+mbconv"


def test_a_parallel_block_reads_in_either_order_and_is_built_in_either_order() -> None:
    assert Architecture.parse("bconv+conv/conv/conv") == Architecture.parse("conv+bconv/conv/conv")
    one, two = (
        Architecture(blocks=(Block(op0=a, op1=b, wiring="parallel"),) * 3)
        for a, b in (("conv", "bconv"), ("bconv", "conv"))
    )
    assert one == two and hash(one) == hash(two) and str(one) == "conv+bconv/conv+bconv/conv+bconv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "conv-mbconv+in/bconv/conv+mbcon",
            "stage 2 has no block 'conv\\+mbcon'; did you mean 'conv\\+mbconv'",
        ),
        ("conv/Conv/conv", "stage 1 has no block 'Conv'; did you mean 'conv'"),
        ("conv/?/conv", "stage 1 has no block '\\?'; blocks are made of conv, mbconv, bconv"),
        ("conv/conv", "has 2 blocks; space 'blox' has 3 stages"),
        ("", "has 1 block;"),
        ("conv//conv", "stage 1 has no block ''"),
        ("conv+in/conv/conv", "stage 0 has no block 'conv\\+in'"),
        ("[[[0],", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[" + "1" * 5000 + "]", "is not JSON"),
        ("[[[0],[0,0,0,0]],[[0],[0,1,0,0]],[[0],[0,1,0,0]]]", "stage 0 .* is disconnected"),
    ],
)
def test_a_text_outside_the_space_is_refused_with_a_remedy(text: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message) as caught:
        Architecture.parse(text)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("index", [-1, 91_125, 10**30])
def test_an_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(ArchitectureError, match=f"index {index}: .* give 0 to 91124"):
        Architecture.from_index(index)


def test_an_architecture_with_too_few_or_foreign_blocks_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="2 blocks: space 'blox' has 3 stages"):
        Architecture(blocks=BLOX.blocks[:2])
    with pytest.raises(ArchitectureError, match=r"stage 2: block .* is not in space 'blox'"):
        Architecture(blocks=(*BLOX.blocks[:2], FOUR_OPS.blocks[3]))
    with pytest.raises(ValueError, match="a single block has op0 None"):
        Block(op0="conv", op1="conv", wiring="single")
    with pytest.raises(ValueError, match="wiring 'loop' is unknown"):
        Block(op0="conv", op1="conv", wiring="loop")  # type: ignore[arg-type]


@given(data=st.data(), config=ANY_CONFIG)
def test_text_vector_json_and_index_all_read_back(data: st.DataObject, config: SpaceConfig) -> None:
    a = Architecture.from_index(data.draw(st.integers(0, len(config) - 1)), config)
    assert Architecture.parse(str(a), config) == a
    assert Architecture.parse(f"  {json.dumps(a.vector)}\n", config) == a
    assert Architecture.from_vector(a.vector, config) == a
    assert Architecture.from_index(a.index, config) == a
    assert Architecture(blocks=a.blocks, config=config) == a


@given(a=ARCHITECTURES, b=ARCHITECTURES)
def test_architectures_are_equal_exactly_when_their_indices_are(a: Architecture, b: Architecture) -> None:
    assert (a == b) == (a.index == b.index)
    assert len({a, b}) == 1 + (a.index != b.index)


@given(text=st.text(max_size=40))
def test_no_text_makes_parse_fail_in_another_way(text: str) -> None:
    try:
        Architecture.parse(text)
    except ArchitectureError as error:
        assert "\n" not in str(error)


def test_equal_blocks_in_different_spaces_are_different_networks() -> None:
    wide = SpaceConfig(name="wide", ops=BLOX.ops, widths=(64, 128, 256), image_size=32, classes=100)
    assert Architecture.from_index(7) != Architecture.from_index(7, wide)


def test_the_repr_is_short_and_names_the_space() -> None:
    assert repr(Architecture.parse("conv/conv+bconv", MINI)) == "<Architecture conv/conv+bconv of mini>"


def test_an_architecture_survives_pickling_and_copying_and_cannot_be_changed() -> None:
    a = Architecture.from_index(54_810)
    assert pickle.loads(pickle.dumps(a)) == a == copy.deepcopy(a)  # noqa: S301
    assert pickle.loads(pickle.dumps(a)).index == a.index  # noqa: S301
    with pytest.raises(AttributeError):
        a.config = MINI  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": 3}, "nodes = 3 cannot be used; only blocks of 2 nodes"),
        ({"ops": ()}, "name at least one op"),
        ({"ops": ("conv", "conv")}, "each op once"),
        ({"ops": ("conv-2",)}, "ops = 'conv-2' cannot be used"),
        ({"ops": ("in",)}, "neither 'in' nor 'out'"),
        ({"widths": (8, 24)}, "write 16 after 8"),
        ({"widths": (7, 14)}, "even number of channels"),
        ({"widths": ()}, "even number of channels"),
        ({"image_size": 18}, "give a multiple of 4"),
        ({"classes": 0}, "classes = 0"),
        ({"in_channels": -3}, "in_channels = -3"),
        ({"widths": tuple(2 << s for s in range(13)), "image_size": 8192}, "cannot be indexed"),
    ],
)
def test_a_space_that_cannot_be_built_is_refused(change: dict[str, object], message: str) -> None:
    fields = {
        "name": "s",
        "ops": ("conv", "mbconv", "bconv"),
        "widths": (8, 16),
        "image_size": 16,
        "classes": 10,
    }
    with pytest.raises(ArchitectureError, match=message):
        SpaceConfig(**{**fields, **change})  # type: ignore[arg-type]


def test_importing_the_package_loads_neither_torch_nor_numpy_nor_any_data_file() -> None:
    program = (
        "import builtins, io, sys\n"
        "import space, space.selection\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "a = space.Architecture.parse('conv-mbconv+in/bconv/conv+mbconv')\n"
        "a.graph_hash, a.params, a.macs, a.vector\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "import space.hash_table as t\n"
        "assert t.digests.cache_info().currsize == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
