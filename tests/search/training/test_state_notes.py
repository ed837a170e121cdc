"""Files of weights say of which network they are, and stay state dicts as any other."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from search.blockwise.plugged import write_weights
from search.training.history import Epoch, Figures
from search.training.recipe import Recipe
from search.training.state_files import write_state
from search.training.trained import Trained
from space import MINI, TINY, Architecture
from space.networks import build_network
from space.state_notes import noted_architecture, with_note

ARCHITECTURE = Architecture.parse("conv-mbconv+in/bconv", TINY)
FIGURES = Figures(images=2, loss=1.0, first=1, among_five=2)


def network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        return build_network(ARCHITECTURE)


def finished(weights: dict[str, torch.Tensor]) -> Trained:
    return Trained(
        architecture=ARCHITECTURE,
        task="made-up",
        synthetic=True,
        recipe=Recipe(epochs=1),
        history=(Epoch(number=1, rate=0.1, train=FIGURES, val=FIGURES, train_ns=1, val_ns=1),),
        test=FIGURES,
        weights=weights,
        environment={},
    )


def read_back(state: object) -> object:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


@pytest.mark.parametrize("writer", ["of a training", "of a search"])
def test_written_weights_name_their_network_and_load_as_ever(tmp_path: Path, writer: str) -> None:
    path, weights = tmp_path / "weights.pt", dict(network().state_dict())
    if writer == "of a training":
        write_state(path, finished(weights))
    else:
        write_weights(path, weights, ARCHITECTURE)
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
