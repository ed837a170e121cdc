"""Computations as CUDA graphs: the same losses, gradients and statistics as step by step. The graphs need a GPU to be tried."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from factories.tasks import NETWORK, RECIPE, TINY, made_task
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from search.training.epochs import computing, learning
from search.training.recipe import Recipe
from search.training.replayed import Replayed
from search.training.training import fresh_network, train

pytestmark = pytest.mark.training
with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are of CUDA, which is not here")


def test_elsewhere_than_on_cuda_every_call_computes() -> None:
    calls: list[int] = []

    def compute(images: Tensor) -> tuple[Tensor]:
        calls.append(len(images))
        return (images * 2,)

    twice = Replayed(compute)
    for count in (3, 3, 2, 3):
        (found,) = twice(torch.ones(count))
        assert found.tolist() == [2.0] * count
    assert calls == [3, 3, 2, 3]


@with_gpu
@pytest.mark.parametrize("mixed", [False, True])
def test_replays_leave_the_gradients_and_the_statistics_of_each_batch(mixed: bool) -> None:
    recipe = Recipe(mixed_precision=mixed)
    replayed = fresh_network(NETWORK, recipe).cuda().train()
    plain = copy.deepcopy(replayed)
    learned = learning(replayed, computing(replayed, recipe))
    generator = torch.Generator().manual_seed(0)
    for count in (8, 8, 8, 5, 8, 5):
        images = torch.randn(count, 3, TINY.image_size, TINY.image_size, generator=generator).cuda()
        labels = torch.randint(TINY.classes, (count,), generator=generator).cuda()
        losses, hits = learned(images, labels)
        plain.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            logits = plain(images)
        loss = cross_entropy(logits.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(losses[0], loss.detach(), rtol=1e-3, atol=1e-3)
        assert hits.shape == (2, 1)
        mine, other = (gradients(network) for network in (replayed, plain))
        assert (mine - other).norm() <= (0.05 if mixed else 5e-3) * other.norm()
        for network in (replayed, plain):
            torch.optim.SGD(network.parameters(), lr=0.01).step()
    for mine, other in zip(replayed.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0.02, atol=1e-3)


@with_gpu
def test_a_training_on_cuda_follows_the_processors() -> None:
    task, slow = made_task(train=200), dataclasses.replace(RECIPE, epochs=2, learning_rate=0.005)
    here, there = (train(NETWORK, task, slow, device=device) for device in ("cpu", "cuda"))
    for mine, other in zip(there.history, here.history, strict=True):
        assert mine.train.loss == pytest.approx(other.train.loss, rel=0.02)
        assert mine.val.loss == pytest.approx(other.val.loss, rel=0.05)


def gradients(network: nn.Module) -> Tensor:
    """Return all gradients of a network, one after another."""
    return torch.cat([one.grad.flatten() for one in network.parameters() if one.grad is not None])
