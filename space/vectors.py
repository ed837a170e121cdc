"""The published vector of an architecture: for each stage `[[op0], [op1, prev, inp, sc]]`, ops by index.

Many vectors mean the same network: 63 valid ones a stage against 45 blocks in Blox. Reading maps each to its
block; writing gives the representative that the published list uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeGuard

from space.block import RawBlock, block_table
from space.config import SpaceConfig
from space.errors import ArchitectureError, shown

Vector: TypeAlias = list[list[list[int]]]

_FORM = "[[op0], [op1, prev, inp, sc]]"


def vector_of(block_indices: Sequence[int], config: SpaceConfig) -> Vector:
    """Return the canonical nested vector of the network with these blocks, first stage first.

    Raises:
        ArchitectureError: the space is a chain of sites, whose networks have no vector.
    """
    check_vectors(config)
    raw = block_table(config.ops).raw
    return [[[raw[i][0]], list(raw[i][1:])] for i in block_indices]


def block_indices_of(vector: object, config: SpaceConfig) -> tuple[int, ...]:
    """Return the index of each stage's block for any valid nested vector, canonical or not.

    Raises:
        ArchitectureError: the vector has another form, a value out of range or a disconnected stage; or the space has none.
    """
    check_vectors(config)
    if not is_list(vector, config.stages):
        raise ArchitectureError(
            f"vector {shown(vector)} is not a list of {config.stages} stages; "
            f"space {config.name!r} wants {_FORM} for each stage"
        )
    by_raw = block_table(config.ops).by_raw
    indices = []
    for stage, nested in enumerate(vector):
        raw = _read_stage(nested, stage, config)
        if raw not in by_raw:
            raise ArchitectureError(
                f"vector stage {stage} = {shown(nested)} is disconnected: prev, inp and sc are all 0, so "
                "that no op joins the stage's input to its output; set at least one of them to 1"
            )
        indices.append(by_raw[raw])
    return tuple(indices)


def check_vectors(config: SpaceConfig) -> None:
    """Refuse vectors of a chain of sites: they are of two ops a stage and their wiring. Raises: ArchitectureError."""
    if config.chain is not None:
        raise ArchitectureError(
            f"networks of space {config.name!r} have no vector, being chains of sites; write one candidate for each choice, "
            "joined by '/', an index or a graph hash"
        )


def _read_stage(nested: object, stage: int, config: SpaceConfig) -> RawBlock:
    def refuse(reason: str) -> ArchitectureError:
        return ArchitectureError(f"vector stage {stage} = {shown(nested)} {reason}; write {_FORM}")

    raw = flat_stage(nested)
    if raw is None:
        raise refuse("has another form")
    if any(type(value) is not int for value in raw):
        raise refuse("holds something other than whole numbers")
    op0, op1, *flags = raw
    for name, value in (("op0", op0), ("op1", op1)):
        if not 0 <= value < len(config.ops):
            listed = ", ".join(f"{i} {op}" for i, op in enumerate(config.ops))
            raise refuse(f"has {name} = {value}, which is no op of space {config.name!r} ({listed})")
    for name, value in zip(("prev", "inp", "sc"), flags, strict=True):
        if value not in (0, 1):
            raise refuse(f"has {name} = {value}, which is neither 0 nor 1")
    return op0, op1, flags[0], flags[1], flags[2]


def flat_stage(nested: object) -> list[Any] | None:
    """Return the five values of a vector's stage, `[[op0], [op1, prev, inp, sc]]`, unchecked; None where it has another form."""
    if is_list(nested, 2) and is_list(nested[0], 1) and is_list(nested[1], 4):
        return [*nested[0], *nested[1]]
    return None


def is_list(value: object, length: int) -> TypeGuard[Sequence[Any]]:
    """Return whether a value is a list or tuple of some length."""
    return isinstance(value, list | tuple) and len(value) == length
