"""Random numbers of layers: drawn from torch's own generators, of the CPU and of the one device that trains, and put back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
import torch

from search.training.epochs import own_numbers


class Cuda:
    """Two cards of a machine that has none: their generators' states are numbers, which seeding and drawing change."""

    def __init__(self) -> None:
        self.states, self.current, self.touched = [10, 20], 0, set[int]()

    def place(self, device: Any) -> int:
        index = torch.device(device).index
        self.touched.add(self.current if index is None else index)
        return self.current if index is None else index

    def get_rng_state(self, device: Any) -> int:
        return self.states[self.place(device)]

    def set_rng_state(self, state: int, device: Any) -> None:
        self.states[self.place(device)] = state

    def manual_seed(self, seed: int) -> None:
        self.states[self.place("cuda")] = seed

    @contextmanager
    def device(self, device: Any) -> Any:
        before, self.current = self.current, self.place(device)
        yield
        self.current = before


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    cards = Cuda()
    for name in ("get_rng_state", "set_rng_state", "manual_seed", "device"):
        monkeypatch.setattr(torch.cuda, name, getattr(cards, name))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return cards


@pytest.mark.parametrize(("device", "place"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
@pytest.mark.parametrize("fails", [False, True])
def test_the_device_that_trains_is_seeded_and_put_back_and_no_other_is_touched(
    cuda: Cuda, device: str, place: int, fails: bool
) -> None:
    before = torch.random.get_rng_state()
    try:
        with own_numbers(7, torch.device(device)):
            assert cuda.states[place] == 7 and cuda.current == 0
            drawn = torch.rand(3)
            cuda.states[place] = 8  # as drawing does
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert cuda.states == [10, 20] and cuda.touched == {place}
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(7)))


def test_on_the_processor_no_card_is_touched(cuda: Cuda) -> None:
    with own_numbers(7, "cpu"):
        torch.rand(3)
    assert cuda.touched == set()
