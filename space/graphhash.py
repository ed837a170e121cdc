"""The graph hash: the key under which every data file lists a network, blind to how its graph is written down.

The construction is NAS-Bench-101's (arXiv:1902.09635, section 2 and its appendix) on whole networks, as Blox
(arXiv:2210.07271) uses it. Vertices are the input, the surviving ops of each stage followed by that stage's
reduction, and the output; edges follow the data, a sum being several edges into what reads it. Each vertex
starts from its degrees and its label; as many rounds as there are vertices mix in the neighbors.

After k rounds a vertex knows only what lies within k edges, so networks that agree there share the work: labels
may be arrays, and the hashes of all networks of one wiring are computed by broadcasting, each vertex over the
stages that it has seen so far. That halves the work for Blox and removes most of the interpreter's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from space.block import WIRINGS, RawBlock, Wiring, block_table

try:  # CPython's own: half the time of OpenSSL's on texts of a hundred bytes
    from _md5 import md5  # type: ignore[import-not-found]
except ImportError:
    from hashlib import md5

Edge: TypeAlias = tuple[int, int]
Labels: TypeAlias = Sequence[Any]  # for each vertex an int, or an object array of ints that broadcasts

_INPUT_LABEL, _OUTPUT_LABEL = -1, -2
DIGEST_BYTES = 16


def graph_hash(labels: Labels, edges: Iterable[Edge]) -> Any:
    """Return the hash of a graph: 32 hex characters, or an object array of them where labels are arrays.

    Vertex 0 is the input and the last vertex the output. Vertices on no path from input to output are removed
    first. `labels` are ints, or object arrays of ints that broadcast against each other.
    """
    kept, edges = _pruned(len(labels), tuple(edges))
    ins = {v: [a for a, b in edges if b == v] for v in kept}
    outs = {v: [b for a, b in edges if a == v] for v in kept}
    hashes = {v: _start(len(outs[v]), len(ins[v]), labels[v]) for v in kept}
    for _ in kept:
        hashes = {v: _mixed(hashes, v, ins[v], outs[v]) for v in kept}
    every = np.broadcast_arrays(*(np.asarray(h, dtype=object) for h in hashes.values()))
    digests = [_md5(str(sorted(row))) for row in zip(*(h.flat for h in every), strict=True)]
    if every[0].ndim == 0:
        return digests[0]
    return np.array(digests, dtype=object).reshape(every[0].shape)


def network_graph(
    wirings: Sequence[Wiring], ops: Sequence[tuple[Any, Any]], op_count: int
) -> tuple[list[Any], list[Edge]]:
    """Return labels and edges of the network with these wirings and (op0, op1) indices, first stage first.

    The op0 of a single block is ignored. Indices may be object arrays, as in `graph_hash`.
    """
    labels: list[Any] = [_INPUT_LABEL]
    edges: list[Edge] = []
    source = 0
    for stage, (wiring, (op0, op1)) in enumerate(zip(wirings, ops, strict=True)):
        offset = (op_count + 1) * stage
        prev, inp, sc = WIRINGS[wiring]
        first, second = len(labels), len(labels) + (wiring != "single")
        if wiring != "single":
            labels.append(op0 + offset)
            edges.append((source, first))
        labels.append(op1 + offset)
        reduction = len(labels)
        labels.append(op_count + offset)
        edges += [(first, second)] * prev + [(source, second)] * inp
        edges += [(second, reduction)] + [(first, reduction)] * sc
        source = reduction
    edges.append((source, len(labels)))
    return [*labels, _OUTPUT_LABEL], edges


def network_hash(raw_blocks: Sequence[RawBlock], op_count: int) -> str:
    """Return the hash of the network with these canonical raw blocks, first stage first."""
    by_flags = {flags: name for name, flags in WIRINGS.items()}
    wirings = [by_flags[prev, inp, sc] for _, _, prev, inp, sc in raw_blocks]
    digest: str = graph_hash(*network_graph(wirings, [(op0, op1) for op0, op1, *_ in raw_blocks], op_count))
    return digest


def all_hashes(op_count: int, stages: int) -> bytes:
    """Return the digests of all networks of a space, 16 bytes each, in canonical order, computed from nothing."""
    raw = block_table(tuple(f"op{i}" for i in range(op_count))).raw
    places = {name: [i for i, r in enumerate(raw) if r[2:] == flags] for name, flags in WIRINGS.items()}
    digests = np.empty((len(raw),) * stages + (DIGEST_BYTES,), dtype=np.uint8)  # (last stage, ..., first, 16)
    for wirings in product(WIRINGS, repeat=stages):
        ops = []
        for stage, wiring in enumerate(wirings):
            shape = [1] * stages
            shape[stages - 1 - stage] = -1  # the first stage changes fastest
            pair = np.array([raw[i][:2] for i in places[wiring]], dtype=object)  # (blocks of this wiring, 2)
            ops.append((pair[:, 0].reshape(shape), pair[:, 1].reshape(shape)))
        hexes: NDArray[np.object_] = graph_hash(*network_graph(wirings, ops, op_count))
        packed = np.frombuffer(bytes.fromhex("".join(hexes.ravel().tolist())), dtype=np.uint8)
        where = np.ix_(*(places[wiring] for wiring in reversed(wirings)))
        digests[where] = packed.reshape(*hexes.shape, DIGEST_BYTES)
    return digests.tobytes()


def _pruned(count: int, edges: tuple[Edge, ...]) -> tuple[list[int], list[Edge]]:
    after, before = {0}, {count - 1}
    for _ in range(count):
        after |= {b for a, b in edges if a in after}
        before |= {a for a, b in edges if b in before}
    kept = after & before
    return sorted(kept), [(a, b) for a, b in edges if a in kept and b in kept]


def _md5(text: str) -> str:
    digest: str = md5(text.encode(), usedforsecurity=False).hexdigest()
    return digest


def _start(out_degree: int, in_degree: int, label: Any) -> Any:
    # Degrees are written as floats because the published keys were made from a matrix of floats.
    return _applied(lambda value: _md5(str((float(out_degree), float(in_degree), value))), label)


def _mixed(hashes: dict[int, Any], v: int, ins: list[int], outs: list[int]) -> Any:
    split = len(ins)

    def mix(own: str, *neighbors: str) -> str:
        before, after = neighbors[:split], neighbors[split:]
        return _md5(f"{''.join(sorted(before))}|{''.join(sorted(after))}|{own}")

    def mix_chain(own: str, before: str, after: str) -> str:
        return _md5(f"{before}|{after}|{own}")

    function = mix_chain if (len(ins), len(outs)) == (1, 1) else mix
    return _applied(function, hashes[v], *(hashes[u] for u in ins), *(hashes[u] for u in outs))


def _applied(function: Callable[..., str], *values: Any) -> Any:
    """Return the function of each place where there are arrays; of one network, without numpy, in a third of the time."""
    if any(isinstance(value, np.ndarray) for value in values):
        return np.frompyfunc(function, len(values), 1)(*values)
    return function(*values)
