"""State dicts that say of which network they are."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch

from space import MINI, TINY, Architecture
from space.networks import build_network
from space.state_notes import noted_architecture, noted_task, with_note

ARCHITECTURE = Architecture.parse("conv-mbconv+in/bconv", TINY)


def network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        return build_network(ARCHITECTURE)


def read_back(state: object) -> object:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def test_a_note_tells_spaces_and_wirings_of_the_same_shapes_apart() -> None:
    state = network().state_dict()
    for one in (
        ARCHITECTURE,
        Architecture.parse(str(ARCHITECTURE), MINI),
        Architecture.parse("conv-mbconv/bconv", TINY),
        Architecture.parse(str(ARCHITECTURE), replace(TINY, image_size=12)),
    ):
        noted = noted_architecture(read_back(with_note(state, one)))
        assert noted is not None and (noted.config, str(noted)) == (one.config, str(one))


def test_a_note_says_on_what_the_network_was_trained() -> None:
    state = network().state_dict()
    assert noted_task(read_back(with_note(state, ARCHITECTURE, "paints-12345678"))) == "paints-12345678"
    assert noted_task(read_back(with_note(state, ARCHITECTURE))) == noted_task(state) == ""
    assert noted_architecture(with_note(state, ARCHITECTURE, "paints-12345678")) is not None


@pytest.mark.parametrize(
    "note", [None, 3, {}, {"space": {"name": "x"}, "architecture": "conv"}, {"space": []}]
)
def test_what_is_no_note_of_this_version_says_nothing(note: object) -> None:
    state = OrderedDict(network().state_dict())
    if note is not None:
        state.harness_network = note  # type: ignore[attr-defined]
    assert noted_architecture(read_back(state)) is None
    assert noted_architecture(dict(state)) is None
