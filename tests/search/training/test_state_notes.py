"""Files of weights say of which network they are, and stay state dicts as any other."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search.training.sealed import content_digest
from search.training.trained_files import write_weights
from space import MINI, TINY, Architecture
from space.networks import build_network
from space.state_notes import noted_architecture, with_note

ARCHITECTURE = Architecture.parse("conv-mbconv+in/bconv", TINY)


def network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        return build_network(ARCHITECTURE)


def read_back(state: object) -> object:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def test_written_weights_name_their_network_and_load_as_ever(tmp_path: Path) -> None:
    path, weights = tmp_path / "new" / "weights.pt", dict(network().state_dict())
    digest = write_weights(path, weights, ARCHITECTURE, make_folder=True)
    before = path.stat().st_mtime_ns
    assert write_weights(path, weights, ARCHITECTURE) == digest == content_digest(weights)
    assert path.stat().st_mtime_ns == before  # the same weights are not written again
    found = torch.load(path, weights_only=True)
    noted = noted_architecture(found)
    assert noted == ARCHITECTURE and noted is not None and noted.config == TINY
    again = network()
    again.load_state_dict(found)
    assert all(torch.equal(value, weights[name]) for name, value in again.state_dict().items())


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


@pytest.mark.parametrize(
    "note", [None, 3, {}, {"space": {"name": "x"}, "architecture": "conv"}, {"space": []}]
)
def test_what_is_no_note_of_this_version_says_nothing(note: object) -> None:
    state = OrderedDict(network().state_dict())
    if note is not None:
        state.harness_network = note  # type: ignore[attr-defined]
    assert noted_architecture(read_back(state)) is None
    assert noted_architecture(dict(state)) is None
