"""Networks as graphs: node features and weighted adjacency.

The nodes, in order: global, input, then for each stage op0, op1 and the reduction, then output: 3 * stages + 3, 12 for Blox. A
block of one op has no op0: that node is empty and has no edges. A node's features are one-hots side by side (its kind, its
stage) and a mark of the first of two ops. So weights learned for an op in one stage serve the other stages.

Further features of a block, such as its loss after distillation, follow these on all nodes of the block's stage.

Every node has an edge from itself, from the nodes that it reads with weight 1, and from those that read it with weight
`BACKWARD`. The global node has edges from and to all others (BRP-NAS, Dudziak et al. 2020, arXiv:2007.08668, which reads a
network's value from it). Without direction and mark `conv-mbconv+in+out` and `mbconv-conv+in+out` would be one graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from space import Block, SpaceConfig
from space.indexing import block_indices

Array = NDArray[np.float32]

BACKWARD = 0.25
# Places of nodes: stage s begins at FIRST + 3 s; its input is one place before.
GLOBAL, INPUT, FIRST = 0, 1, 2
_KINDS = ("global", "input", "output", "reduction")  # the kinds that are no ops, first among the features
_PER_STAGE = 3
_SOURCE, _OP0, _OP1, _REDUCTION = range(4)  # places within a stage, its input first


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockGraphs:
    """Parts shared by the graphs of a space, made once.

    `nodes`, (B, 3, features): the nodes of a stage that holds a block, as the first stage has them. `edges`, (B, 4, 4): 1 where
    a node (row) reads another (column), among the stage's input and its own three. `known`, (stages, B, columns): further
    features of each block in each stage; columns may be 0.
    """

    config: SpaceConfig
    nodes: Array
    edges: Array
    known: Array

    @property
    def features(self) -> int:
        """The number of features of a node, those of `known` included."""
        return feature_count(self.config) + int(self.known.shape[2])


def block_graphs(config: SpaceConfig, known: ArrayLike | None = None) -> BlockGraphs:
    """Return the parts of a space's graphs; `known`, (stages, B, columns), are more features of each block in each stage.

    Raises:
        ValueError: `known` has another shape, or a number that is not finite.
    """
    stages, count = config.stages, len(config.blocks)
    more = np.zeros((stages, count, 0)) if known is None else np.asarray(known)
    if more.ndim != 3 or more.shape[:2] != (stages, count) or not np.isfinite(more).all():
        raise ValueError(
            f"features of blocks of shape {more.shape}, all finite: {np.isfinite(more).all()}; "
            f"give finite ones of shape ({stages}, {count}, columns)"
        )
    nodes = np.zeros((len(config.blocks), _PER_STAGE, feature_count(config)), dtype=np.float32)
    edges = np.zeros((len(config.blocks), 4, 4), dtype=np.float32)
    for i, block in enumerate(config.blocks):
        for place, op in zip((_OP1, _OP0), block.ops[::-1], strict=False):  # a single op is the last one
            nodes[i, place - 1, len(_KINDS) + config.ops.index(op)] = 1
            nodes[i, place - 1, -1] = place == _OP0
        nodes[i, _REDUCTION - 1, _KINDS.index("reduction")] = 1
        for reader, read in _edges(block):
            edges[i, reader, read] = 1
    return BlockGraphs(config=config, nodes=nodes, edges=edges, known=more.astype(np.float32))


def node_count(config: SpaceConfig) -> int:
    """Return the number of nodes of each graph of a space, empty ones included."""
    return FIRST + _PER_STAGE * config.stages + 1


def feature_count(config: SpaceConfig) -> int:
    """Return the number of a node's own features: one-hots of its kind and stage, and whether it is the first of two ops."""
    return len(_KINDS) + len(config.ops) + config.stages + 1


def node_features(parts: BlockGraphs, indices: ArrayLike) -> Array:
    """Return the node features of networks (n,), (n, nodes, features)."""
    config = parts.config
    choices = block_indices(config, indices)
    own = feature_count(config)
    features = np.zeros((len(choices), node_count(config), parts.features), dtype=np.float32)
    for kind, place in (("global", GLOBAL), ("input", INPUT), ("output", -1)):
        features[:, place, _KINDS.index(kind)] = 1
    for stage in range(config.stages):
        begin = FIRST + _PER_STAGE * stage
        places = slice(begin, begin + _PER_STAGE)
        features[:, places, :own] = parts.nodes[choices[:, stage]]
        is_there = np.asarray(features[:, places].any(axis=2))  # (n, 3)
        features[:, places, len(_KINDS) + len(config.ops) + stage] = is_there
        known = parts.known[stage, choices[:, stage]]  # (n, columns)
        features[:, places, own:] = is_there[:, :, None] * known[:, None, :]
    return features


def readings(parts: BlockGraphs, indices: ArrayLike) -> Array:
    """Return 1 where a node (row) of networks (n,) reads another one (column), (n, nodes, nodes): the data flow."""
    config = parts.config
    choices = block_indices(config, indices)
    count = node_count(config)
    reads = np.zeros((len(choices), count, count), dtype=np.float32)
    for stage in range(config.stages):
        own = slice(FIRST - 1 + _PER_STAGE * stage, FIRST + _PER_STAGE * (stage + 1))
        reads[:, own, own] += parts.edges[choices[:, stage]]  # neighbors share a place, but no edge
    reads[:, -1, -2] = 1
    return reads


def adjacency(parts: BlockGraphs, indices: ArrayLike) -> Array:
    """Return the weighted adjacency of networks (n,): of each node (row) to each other one (column), (n, nodes, nodes).

    Normalized as by Kipf and Welling (2017, arXiv:1609.02907): divided by the roots of the row's sum and of the column's. The
    rows and columns of empty nodes are 0.
    """
    reads = readings(parts, indices)
    hears = reads + BACKWARD * reads.transpose(0, 2, 1)
    is_there = np.asarray((hears > 0).any(axis=2))  # (n, nodes): all but empty places and the global node
    is_there[:, GLOBAL] = True
    hears[:, GLOBAL, :] = hears[:, :, GLOBAL] = is_there
    places = np.arange(hears.shape[1])
    hears[:, places, places] = is_there
    hearing = np.maximum(hears.sum(axis=2, keepdims=True), 1)  # (n, nodes, 1)
    heard = np.maximum(hears.sum(axis=1, keepdims=True), 1)  # (n, 1, nodes)
    normalized: Array = hears / np.sqrt(hearing * heard)
    return normalized


def _edges(block: Block) -> list[tuple[int, int]]:
    """Return (reader, read) places within a stage that holds this block."""
    edges = [
        (block.op0 is not None, (_OP0, _SOURCE)),
        (block.prev, (_OP1, _OP0)),
        (block.inp, (_OP1, _SOURCE)),
        (block.sc, (_REDUCTION, _OP0)),
        (True, (_REDUCTION, _OP1)),
    ]
    return [edge for is_there, edge in edges if is_there]
