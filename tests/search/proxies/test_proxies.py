"""Zero-cost proxies: each against another way to compute it, on networks small enough to see through."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from factories.own_spaces import write_space
from torch import Tensor, nn

import search.proxies.scoring as scoring
from search.methods.registry import PROXIES as NAMES
from search.proxies import Batch, load_batch, proxy_scorer
from search.proxies.measures import PROXIES, fisher, grad_norm, grasp, jacob_cov, snip, synflow
from space import MINI, Architecture, SpaceConfig, load_space
from space.errors import ConfigError, HarnessError
from space.networks import build_network

TINY = SpaceConfig(name="tiny", ops=("conv", "bconv"), widths=(2,), image_size=4, classes=3)


def random_images(count: int = 6, seed: int = 0, channels: int = 3, size: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, channels, size, size, generator=generator)
    return images, torch.randint(0, 3, (count,), generator=generator)


@pytest.fixture
def perceptron() -> nn.Sequential:
    """A smooth network of two layers, 75 inputs to 3 classes, in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(75, 4), nn.Tanh(), nn.Linear(4, 3)).double()


@pytest.fixture
def convolutional() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 5, 2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 3),
        )


def perceptron_gradients(
    network: nn.Sequential, images: Tensor, labels: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of both weights, worked out by hand."""
    first, second = network[1], network[3]
    x = images.double().flatten(1).numpy()
    w1, b1, w2, b2 = (p.detach().numpy() for p in (first.weight, first.bias, second.weight, second.bias))
    hidden = np.tanh(x @ w1.T + b1)
    logits = hidden @ w2.T + b2
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = (chances - np.eye(3)[labels.numpy()]) / len(x)  # (n, 3)
    back = (wrong @ w2) * (1 - hidden**2)  # (n, 4)
    return back.T @ x, wrong.T @ hidden


def test_grad_norm_is_the_sum_of_the_layers_norms(perceptron: nn.Sequential) -> None:
    images, labels = random_images()
    first, second = perceptron_gradients(perceptron, images, labels)
    expected = np.sqrt((first**2).sum()) + np.sqrt((second**2).sum())
    assert grad_norm(perceptron, images.double(), labels) == pytest.approx(expected, rel=1e-9)


def test_snip_is_the_sum_of_weight_times_gradient_without_sign(perceptron: nn.Sequential) -> None:
    images, labels = random_images()
    gradients = perceptron_gradients(perceptron, images, labels)
    weights = [perceptron[place].weight.detach().numpy() for place in (1, 3)]
    expected = sum(np.abs(w * g).sum() for w, g in zip(weights, gradients, strict=True))
    assert snip(perceptron, images.double(), labels) == pytest.approx(expected, rel=1e-9)


def test_grasp_is_minus_weights_times_the_change_of_the_gradient_along_itself(
    perceptron: nn.Sequential,
) -> None:
    images, labels = random_images()
    weights = [perceptron[place].weight.detach().clone() for place in (1, 3)]
    at_rest = perceptron_gradients(perceptron, images, labels)
    step, moved = 1e-5, []
    for sign in (1, -1):
        nudged = copy.deepcopy(perceptron)
        with torch.no_grad():
            for place, gradient in zip((1, 3), at_rest, strict=True):
                nudged[place].weight += sign * step * torch.from_numpy(gradient)
        moved.append(perceptron_gradients(nudged, images, labels))
    products = [(up - down) / (2 * step) for up, down in zip(*moved, strict=True)]
    expected = -sum(float((w.numpy() * p).sum()) for w, p in zip(weights, products, strict=True))
    assert grasp(perceptron, images.double(), labels) == pytest.approx(expected, rel=1e-6)


def test_fisher_is_what_gates_on_channels_feel(convolutional: nn.Sequential) -> None:
    # A gate of 1 for each image and channel behind each ReLU: the gradient of the loss by it is sum(activation * gradient).
    images, labels = random_images()
    network = copy.deepcopy(convolutional).train()
    gates: list[Tensor] = []
    x = images
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            gates.append(torch.ones(len(x), x.shape[1], 1, 1, requires_grad=True))
            x = x * gates[-1]
    chances = x.log_softmax(dim=1)
    loss = -sum(chances[i, label] for i, label in enumerate(labels))
    gradients = torch.autograd.grad(loss, gates)
    expected = sum(float((g**2).sum()) / (2 * len(images)) for g in gradients)
    assert fisher(convolutional, images, labels) == pytest.approx(expected, rel=1e-4)


def test_fisher_needs_activations(perceptron: nn.Sequential) -> None:
    with pytest.raises(ValueError, match="no ReLU"):
        fisher(perceptron, *random_images())


def test_jacob_cov_is_the_score_of_the_correlations_eigenvalues(perceptron: nn.Sequential) -> None:
    images, labels = random_images()
    first, second = perceptron[1], perceptron[3]
    x = images.double().flatten(1).numpy()
    w1, b1, w2 = (p.detach().numpy() for p in (first.weight, first.bias, second.weight))
    slopes = 1 - np.tanh(x @ w1.T + b1) ** 2
    jacobian = (w2.sum(axis=0) * slopes) @ w1  # (n, 75)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(jacobian)) + 1e-5
    expected = -(np.log(eigenvalues) + 1 / eigenvalues).sum()
    # Four hidden units leave eigenvalues of 0, whose rounding the score magnifies: 1 / (1e-5 + 1e-16).
    assert jacob_cov(perceptron, images.double(), labels) == pytest.approx(expected, rel=1e-6)


def test_jacob_cov_prefers_images_told_apart() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = nn.Sequential(nn.Flatten(), nn.Linear(75, 400), nn.ReLU(), nn.Linear(400, 3))
    images, labels = random_images()
    alike = images[:1].repeat(6, 1, 1, 1) + 0.01 * images
    assert jacob_cov(wide, images, labels) > jacob_cov(wide, alike, labels)


def test_synflow_of_a_linear_network_is_each_layers_share_of_one_product() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(75, 4, bias=False), nn.Linear(4, 5, bias=False), nn.Linear(5, 3, bias=False)]
    network = nn.Sequential(nn.Flatten(), *layers)
    product = np.ones(75)
    for layer in layers:
        product = np.abs(layer.weight.detach().double().numpy()) @ product
    assert synflow(network, *random_images()) == pytest.approx(3 * product.sum(), rel=1e-12)


def test_synflow_takes_biases_and_batch_norm_in_their_stride(convolutional: nn.Sequential) -> None:
    score = synflow(convolutional, *random_images())
    x = torch.ones(1, 3, 5, 5, dtype=torch.float64)
    network = copy.deepcopy(convolutional).double()
    total, weights = 0.0, []
    for place in (0, 3, 7):
        network[place].weight.data.abs_()
        network[place].bias.data.abs_()
        weights.append(network[place].weight)
    x = network[0](x) / np.sqrt(1 + 1e-5)
    x = network[7](network[3](x).mean(dim=(2, 3)))
    for w, g in zip(weights, torch.autograd.grad(x.sum(), weights), strict=True):
        total += float((w * g).detach().sum())
    assert score == pytest.approx(total, rel=1e-9)


def test_synflow_sees_neither_images_nor_labels(convolutional: nn.Sequential) -> None:
    (one, labels), (other, others) = random_images(), random_images(count=9, seed=4)
    assert synflow(convolutional, one, labels) == synflow(convolutional, other, others)
    assert snip(convolutional, one, labels) != snip(convolutional, other, others)


@pytest.mark.parametrize("name", PROXIES)
def test_a_scored_network_stays_as_it_was(name: str, convolutional: nn.Sequential) -> None:
    convolutional.eval()
    before = copy.deepcopy(convolutional.state_dict())
    PROXIES[name](convolutional, *random_images())
    after = convolutional.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not convolutional.training and all(p.grad is None for p in convolutional.parameters())
    assert all(not m._forward_hooks for m in convolutional.modules())


@pytest.mark.parametrize("name", [name for name in PROXIES if name != "synflow"])
def test_batch_norm_takes_the_batchs_statistics(name: str, convolutional: nn.Sequential) -> None:
    images, labels = random_images()
    other = copy.deepcopy(convolutional)
    other[1].running_mean += 3.0
    other[1].running_var *= 9.0
    assert PROXIES[name](convolutional, images, labels) == PROXIES[name](other, images, labels)


def test_the_proxies_are_those_that_methods_name() -> None:
    assert tuple(PROXIES) == NAMES


def tiny_batch(seed: int = 0) -> Batch:
    images, labels = random_images(seed=seed, size=4)
    return Batch(images=images.numpy(), labels=labels.numpy(), origin="made here")


@pytest.mark.parametrize("name", PROXIES)
def test_seeds_make_weights_and_scores(name: str) -> None:
    indices = np.array([3, 0, 12])
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = proxy_scorer(name, TINY, tiny_batch(), seed=5)(indices)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    with torch.no_grad():
        again = proxy_scorer(name, TINY, tiny_batch(), seed=5)(indices[::-1])[::-1]
    assert first.dtype == np.float64 and (first == again).all()
    assert (first != proxy_scorer(name, TINY, tiny_batch(), seed=6)(indices)).all()
    assert len(np.unique(first)) == 3


def test_a_network_is_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    original = scoring._score
    monkeypatch.setattr(scoring, "_score", lambda n, a, b, s: scored.append(a.index) or original(n, a, b, s))
    score = proxy_scorer("synflow", TINY, tiny_batch(), 0)
    first = score(np.array([4, 7, 4]))
    assert first[0] == first[2] and scored == [4, 7]
    assert score(np.array([7, 4]))[1] == first[0]
    score(np.array([7, 4, 9]))
    assert scored == [4, 7, 9]
    assert score(np.array([], dtype=np.int64)).shape == (0,)


def test_the_scored_network_is_the_one_that_was_asked_for() -> None:
    architecture, batch = Architecture.parse("conv-bconv+in", TINY), tiny_batch()
    seed = int(np.random.SeedSequence((8, architecture.index)).generate_state(1)[0])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_network(architecture)
    expected = grad_norm(network, torch.from_numpy(batch.images), torch.from_numpy(batch.labels))
    assert proxy_scorer("grad_norm", TINY, batch, 8)(np.array([architecture.index]))[0] == pytest.approx(
        expected
    )


def test_a_score_that_is_not_finite_is_an_error_that_names_network_and_proxy() -> None:
    batch = tiny_batch()
    broken = Batch(images=np.full_like(batch.images, np.inf), labels=batch.labels, origin="broken")
    for name in ("snip", "jacob_cov"):
        with pytest.raises(
            HarnessError, match=rf"proxy {name} of network {Architecture.from_index(2, TINY)} "
        ):
            proxy_scorer(name, TINY, broken, 0)(np.array([2]))


def test_an_unknown_proxy_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'synflow'"):
        proxy_scorer("sinflow", TINY, tiny_batch(), 0)


@pytest.mark.parametrize("name", PROXIES)
def test_every_proxy_scores_a_network_of_the_space_on_the_digits(name: str) -> None:
    score = proxy_scorer(name, MINI, load_batch("", MINI, count=16), seed=0)
    scores = score(np.array([Architecture.parse("mbconv-bconv+in+out/conv+mbconv", MINI).index, 0]))
    assert np.isfinite(scores).all() and scores[0] != scores[1]


def test_a_layer_that_nothing_runs_scores_nothing_and_frozen_weights_are_none(
    convolutional: nn.Sequential,
) -> None:
    images, labels = random_images()
    other = copy.deepcopy(convolutional)
    other[3].unused = nn.Linear(4, 4)
    names = [name for name in PROXIES if name != "fisher"]
    for name in names:
        assert PROXIES[name](other, images, labels) == PROXIES[name](convolutional, images, labels)
    other[3].weight.requires_grad_(False)
    assert 0 < snip(other, images, labels) < snip(convolutional, images, labels)


SMOOTH = """
from torch import nn


def own(i, o, s):
    return nn.utils.parametrizations.weight_norm(nn.Conv2d(i, o, 3, s, 1))


def conv(i, o, s):
    return nn.Conv2d(i, o, 3, s, 1)
"""


@pytest.mark.parametrize(
    ("name", "says"), [("fisher", "the network has no ReLU"), ("synflow", r"weight of sites\.0 is computed")]
)
def test_what_a_proxy_cannot_score_in_a_space_of_ones_own_is_said(
    name: str, says: str, tmp_path: Path
) -> None:
    definition = """
name = "smooth"
image_size = 4
classes = 3
candidates = { own = "own_ops:own", plain = "own_ops:conv" }
stem = { module = "own_ops:conv", channels = 4 }
sites = [{ candidates = ["own", "plain"] }]
head = "linear"
"""
    space = load_space(write_space(tmp_path, definition, SMOOTH))
    score = proxy_scorer(name, space, load_batch("", space, count=4), seed=0)
    with pytest.raises(HarnessError, match=rf"proxy {name} cannot score network own: .*{says}"):
        score(np.array([0]))
