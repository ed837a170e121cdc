"""Graph hashes: the published vectors, the shipped table, look-up both ways."""

from __future__ import annotations

import json
import random
from hashlib import md5
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from space import BLOX, MINI, Architecture, ArchitectureError, SpaceConfig, graphhash, hash_table
from space.block import WIRINGS, block_table
from space.graphhash import all_hashes, graph_hash, network_hash
from space.indexing import blocks_of
from space.regenerate import write_table

VECTORS = json.loads((Path(__file__).parent / "data" / "hash-vectors.json").read_text())["networks"]
FOUR_STAGES = SpaceConfig(name="deep", ops=BLOX.ops, widths=(4, 8, 16, 32), image_size=32, classes=10)


def raw_graph(vector: list[list[list[int]]]) -> tuple[list[int], list[tuple[int, int]]]:
    """The graph of a raw vector with every op in it, dead or not: two op vertices a stage."""
    labels, edges, source = [-1], [], 0
    for stage, ((op0,), (op1, prev, inp, sc)) in enumerate(vector):
        first, second, reduction = len(labels), len(labels) + 1, len(labels) + 2
        labels += [op0 + 4 * stage, op1 + 4 * stage, 3 + 4 * stage]
        edges += [(source, first), (second, reduction)]
        edges += [(first, second)] * prev + [(source, second)] * inp + [(first, reduction)] * sc
        source = reduction
    return [*labels, -2], [*edges, (source, len(labels))]


def plain_hash(labels: list[int], edges: list[tuple[int, int]]) -> str:
    """The construction step by step with dictionaries, for graphs whose vertices all matter."""

    def digest(text: str) -> str:
        return md5(text.encode()).hexdigest()

    ins = {v: [a for a, b in edges if b == v] for v in range(len(labels))}
    outs = {v: [b for a, b in edges if a == v] for v in range(len(labels))}
    h = {v: digest(str((float(len(outs[v])), float(len(ins[v])), labels[v]))) for v in ins}
    for _ in labels:
        h = {
            v: digest(
                "".join(sorted(h[u] for u in ins[v]))
                + "|"
                + "".join(sorted(h[u] for u in outs[v]))
                + "|"
                + h[v]
            )
            for v in h
        }
    return digest(str(sorted(h.values())))


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["hash"])
def test_the_published_hashes_come_out_from_graphs_with_dead_ops_and_from_the_table(
    case: dict[str, object],
) -> None:
    assert graph_hash(*raw_graph(case["arch"])) == case["hash"]  # type: ignore[arg-type]
    assert Architecture.from_vector(case["arch"]).graph_hash == case["hash"]


@pytest.mark.slow
def test_the_shipped_table_comes_out_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each wiring is at each stage in a seventh of their combinations; all of them take seven times as long.
    some = set(list(product(WIRINGS, repeat=BLOX.stages))[::7])
    monkeypatch.setattr(graphhash, "product", lambda names, repeat: some)
    write_table(tmp_path / "hashes.bin")
    made, shipped = (
        np.frombuffer(path.read_bytes(), dtype=np.uint8).reshape(len(BLOX), -1)
        for path in (tmp_path / "hashes.bin", hash_table.TABLE_PATH)
    )
    wirings = [block.wiring for block in BLOX.blocks]
    computed = [
        tuple(wirings[block] for block in blocks_of(BLOX, index)) in some for index in range(len(BLOX))
    ]
    assert sum(computed) > 10_000
    assert np.array_equal(made[computed], shipped[computed])


def test_all_91125_hashes_are_distinct_and_lead_back_to_their_networks() -> None:
    hashes = [Architecture.from_index(i).graph_hash for i in range(len(BLOX))]
    assert len(set(hashes)) == 91_125
    assert all(Architecture.from_hash(h).index == i for i, h in enumerate(hashes))


def test_the_table_agrees_with_a_plain_hash_of_every_wiring_at_every_stage() -> None:
    flags = [(1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]  # the five in which both ops live
    draw = random.Random(0)
    for wiring in product(flags, repeat=3):
        vector = [[[draw.randrange(3)], [draw.randrange(3), *stage]] for stage in wiring]
        assert Architecture.from_vector(vector).graph_hash == plain_hash(*raw_graph(vector))


@settings(max_examples=50, deadline=None)
@given(index=st.integers(0, len(BLOX) - 1), draw=st.randoms(use_true_random=False))
def test_a_hash_does_not_depend_on_how_the_graph_is_numbered(index: int, draw: random.Random) -> None:
    a = Architecture.from_index(index)
    labels, edges = raw_graph(a.vector)
    inner = list(range(1, len(labels) - 1))
    draw.shuffle(inner)
    place = dict(enumerate([0, *inner, len(labels) - 1]))
    moved = [0] * len(labels)
    for v, label in enumerate(labels):
        moved[place[v]] = label
    assert graph_hash(moved, [(place[a], place[b]) for a, b in reversed(edges)]) == a.graph_hash


@settings(max_examples=50, deadline=None)
@given(
    stages=st.lists(
        st.tuples(*(st.integers(0, 2),) * 2, *(st.integers(0, 1),) * 3).filter(lambda raw: any(raw[2:])),
        min_size=3,
        max_size=3,
    )
)
def test_every_raw_vector_of_a_network_has_the_hash_of_the_network(stages: list[tuple[int, ...]]) -> None:
    vector = [[[raw[0]], list(raw[1:])] for raw in stages]
    assert graph_hash(*raw_graph(vector)) == Architecture.from_vector(vector).graph_hash


def test_the_miniature_computes_distinct_hashes_and_finds_networks_by_them() -> None:
    digests = all_hashes(3, 2)
    hashes = [digests[i : i + 16].hex() for i in range(0, len(digests), 16)]
    assert len(set(hashes)) == len(MINI)
    for i in range(0, len(MINI), 61):
        assert Architecture.from_index(i, MINI).graph_hash == hashes[i]
        assert Architecture.from_hash(hashes[i], MINI).index == i


def test_a_space_of_another_size_labels_its_reductions_by_its_own_number_of_ops() -> None:
    raw = block_table(("a", "b")).raw
    chain = raw[1]  # op1 index 0 after op0 index 1, in both stages
    labels = [-1, 1, 0, 2, 4, 3, 5, -2]
    assert network_hash([chain, chain], 2) == plain_hash(labels, [(v, v + 1) for v in range(7)])


@pytest.mark.parametrize("text", ["", "39554afd", "z" * 32, "39554afd1b33a44663e653ad10137b9a0", "0 " * 16])
def test_a_text_that_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ArchitectureError, match="is not a graph hash; give 32 hexadecimal"):
        Architecture.from_hash(text)


def test_a_hash_of_no_network_and_a_space_too_large_to_search_are_refused() -> None:
    with pytest.raises(ArchitectureError, match="no network of space 'blox' has it"):
        Architecture.from_hash("0" * 32)
    with pytest.raises(ArchitectureError, match="4100625 networks of space 'deep' are too many to search"):
        Architecture.from_hash("0" * 32, FOUR_STAGES)


def test_hashes_are_read_in_capitals_too() -> None:
    assert Architecture.from_hash("39554AFD1B33A44663E653AD10137B9A").index == 0


def test_a_cut_table_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "blox_hashes.bin"
    cut.write_bytes(hash_table.TABLE_PATH.read_bytes()[:-1])
    monkeypatch.setattr(hash_table, "TABLE_PATH", cut)
    hash_table.digests.cache_clear()
    try:
        with pytest.raises(
            ArchitectureError, match=r"1457999 bytes instead of 1458000; .*python -m space.regenerate"
        ):
            _ = Architecture.from_index(0).graph_hash
    finally:
        hash_table.digests.cache_clear()
