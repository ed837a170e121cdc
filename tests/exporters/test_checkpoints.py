"""Weights that come from a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rigs.model_runs import random_image, run_model
from rigs.no_plain_files import KINDS, no_plain_file

from exporters import ConversionError, Format, FragmentLibrary, Weights
from exporters import weights as weights_module
from exporters.formats import Precision
from exporters.networks import check_half, torch_network
from exporters.weights import checkpoint_digest
from space import MINI, TINY, Architecture
from space.networks import build_network
from space.state_notes import with_note

pytestmark = pytest.mark.converter

ARCHITECTURE = Architecture.parse("conv-mbconv+in/bconv", MINI)


def trained_network() -> torch.nn.Module:
    """Return a network whose every tensor, BatchNorm's statistics too, differs from its initial value."""
    torch.manual_seed(3)
    network = build_network(ARCHITECTURE)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor) * 0.1)
        else:
            assert name.endswith("num_batches_tracked")
    return network.eval().requires_grad_(False)


def checkpoint(folder: Path, change: Callable[[dict[str, Any]], object] = lambda state: None) -> Path:
    state = dict(trained_network().state_dict())
    change(state)
    torch.save(state, folder / "trained.pt")
    return folder / "trained.pt"


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_model_computes_what_the_trained_network_computes(format: Format, tmp_path: Path) -> None:
    weights = Weights.from_checkpoint(checkpoint(tmp_path), ARCHITECTURE)
    seen: list[str] = []
    library = FragmentLibrary.open(
        format,
        cache_dir=tmp_path,
        config=MINI,
        weights=weights,
        on_progress=lambda _d, _t, name: seen.append(name),
    )
    image = random_image(MINI)
    expected = trained_network()(torch.from_numpy(image)).numpy()
    logits = run_model(format, library.assembly(ARCHITECTURE).whole(), image)
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    # Only its own fragments were exported, and no other network can be made of them.
    assert seen == [
        "glue",
        "stem",
        "stage0.op0.conv",
        "stage0.op1.mbconv",
        "stage0.reduction",
        "stage1.op1.bconv",
        "stage1.reduction",
        "head",
    ]
    with pytest.raises(ConversionError, match=r"needs stage1\.op1\.conv, which checkpoint .* lacks"):
        library.assembly(Architecture.parse("conv-mbconv+in/conv", MINI))


def test_torch_networks_take_a_checkpoint_too(tmp_path: Path) -> None:
    image = torch.from_numpy(random_image(MINI))
    weights = Weights.from_checkpoint(checkpoint(tmp_path), ARCHITECTURE)
    expected = trained_network()(image)
    assert torch.equal(torch_network(ARCHITECTURE, weights, folded=False)(image), expected)
    torch.testing.assert_close(torch_network(ARCHITECTURE, weights)(image), expected, rtol=1e-4, atol=1e-4)


def rename(state: dict[str, Any]) -> None:
    state["top.weight"] = state.pop("head.linear.weight")


def reshape(state: dict[str, Any]) -> None:
    state["head.linear.bias"] = torch.zeros(7)


def diverge(state: dict[str, Any]) -> None:
    state["stem.0.weight"] = torch.full_like(state["stem.0.weight"], float("nan"))


def scaled(name: str, factor: float) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({name: state[name] * factor})


@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.parametrize(
    ("factor", "complaint"),
    [
        (1e7, r"head: linear\.weight holds [0-9.e+]+, and fp16 has no number beyond 65504; export fp32"),
        (1e-10, r"head: linear\.weight holds [0-9.]+e-1[0-2] at most, all of which fp16 rounds to 0"),
    ],
)
def test_weights_that_fp16_does_not_hold_are_refused_by_name_and_value(
    format: Format, factor: float, complaint: str, tmp_path: Path
) -> None:
    path = checkpoint(tmp_path, scaled("head.linear.weight", factor))
    weights = Weights.from_checkpoint(path, ARCHITECTURE)
    with pytest.raises(ConversionError, match=complaint):
        FragmentLibrary.open(format, cache_dir=tmp_path, config=MINI, weights=weights, precision="fp16")


def test_a_layer_of_zeros_and_the_largest_number_of_fp16_are_no_fault() -> None:
    linear = torch.nn.Linear(4, 4)
    for value in (0.0, 65504.0, 65519.0, 6e-8):
        torch.nn.init.constant_(linear.weight, value)
        check_half(linear)
    torch.nn.init.constant_(linear.weight, 65520.0)
    with pytest.raises(ConversionError, match=r"^weight holds 65520"):
        check_half(linear)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_batch_norm_that_folds_to_nothing_finite_is_refused(precision: Precision, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, scaled("stages.0.reduction.shallow.1.running_var", -1.0))
    weights = Weights.from_checkpoint(path, ARCHITECTURE)
    with pytest.raises(
        ConversionError, match=r"reduction: .*weight is not finite once its BatchNorm is folded"
    ):
        FragmentLibrary.open("onnx", cache_dir=tmp_path, config=MINI, weights=weights, precision=precision)


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_values_that_are_not_finite_have_no_scale_in_int8(format: Format, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, scaled("stem.0.weight", 3e38))
    weights = Weights.from_checkpoint(path, ARCHITECTURE)
    with pytest.raises(ConversionError, match=r"is not finite on the calibration images.* export fp32"):
        FragmentLibrary.open(format, cache_dir=tmp_path, config=MINI, weights=weights, precision="int8")


def change_bias(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.update({"stem.0.bias": change(state["stem.0.bias"])})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (change_bias(torch.Tensor.to_sparse), r"no plain numbers of such a type stem\.0\.bias .*sparse"),
        (change_bias(lambda bias: bias.to("meta")), r"no plain numbers of such a type stem\.0\.bias"),
        (change_bias(lambda bias: bias.to(torch.complex64)), r"type stem\.0\.bias torch\.complex64"),
        (rename, r"missing head\.linear\.weight; unexpected top\.weight"),
        (reshape, r"of another shape head\.linear\.bias \(7,\) instead of \(10,\)"),
        (diverge, r"not finite stem\.0\.weight"),
        (lambda state: state.update(epoch=3), "is no state_dict"),
        (
            lambda state: state.update({"stem.0.bias": print}),
            "not a file of tensors that torch can load safely; write it with torch.save",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_reason(
    change: Callable[[dict[str, Any]], object], complaint: str, tmp_path: Path
) -> None:
    weights = Weights.from_checkpoint(checkpoint(tmp_path, change), ARCHITECTURE)
    with pytest.raises(ConversionError, match=complaint):
        torch_network(ARCHITECTURE, weights)


def test_weights_that_say_they_are_of_another_space_or_wiring_are_refused(tmp_path: Path) -> None:
    """The shapes are the same in each: nothing but the note tells them apart."""
    path, state = tmp_path / "trained.pt", trained_network().state_dict()
    for text, config, complaint in (
        (
            str(ARCHITECTURE),
            TINY,
            r"holds the weights of conv-mbconv\+in/bconv of space 'tiny', not of .* of space 'mini'",
        ),
        (
            "conv-mbconv/bconv",
            MINI,
            r"holds the weights of conv-mbconv/bconv of space 'mini', not of conv-mbconv\+in/",
        ),
        (
            str(ARCHITECTURE),
            replace(MINI, image_size=32),
            r"'mini' as it was \(.*image_size=32.*\), not of .* as it is now",
        ),
    ):
        torch.save(with_note(state, Architecture.parse(text, config)), path)
        with pytest.raises(ConversionError, match=complaint) as refusal:
            torch_network(ARCHITECTURE, Weights.from_checkpoint(path, ARCHITECTURE))
        assert "name the architecture and the space that it was trained as" in str(refusal.value)


def test_weights_that_say_they_are_of_this_network_are_taken(tmp_path: Path) -> None:
    image = torch.from_numpy(random_image(MINI))
    torch.save(with_note(trained_network().state_dict(), ARCHITECTURE), tmp_path / "trained.pt")
    found = torch_network(
        ARCHITECTURE, Weights.from_checkpoint(tmp_path / "trained.pt", ARCHITECTURE), folded=False
    )
    assert torch.equal(found(image), trained_network()(image))


def test_a_refusal_reaches_whoever_opens_a_library(tmp_path: Path) -> None:
    weights = Weights.from_checkpoint(checkpoint(tmp_path, rename), ARCHITECTURE)
    with pytest.raises(ConversionError, match=r"missing head\.linear\.weight"):
        FragmentLibrary.open("onnx", cache_dir=tmp_path, config=MINI, weights=weights)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no tensors here")
    weights = Weights.from_checkpoint(tmp_path / "notes.txt", ARCHITECTURE)
    with pytest.raises(ConversionError, match="not a file of tensors"):
        torch_network(ARCHITECTURE, weights)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_damaged_checkpoint_is_read_or_refused(legacy: bool, tmp_path: Path) -> None:
    path, random = tmp_path / "trained.pt", np.random.default_rng(int(legacy))
    torch.save(trained_network().state_dict(), path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for _ in range(60):
        data = bytearray(whole)
        for place in random.integers(0, 3000, 3):  # where the pickle is
            data[place] = random.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(ConversionError):
            torch_network(ARCHITECTURE, Weights.from_checkpoint(path, ARCHITECTURE))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConversionError, match="is no plain file"):
        checkpoint_digest(no_plain_file(kind, tmp_path / "weights.pt"))


def test_an_absent_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"nowhere\.pt cannot be read: No such file"):
        Weights.from_checkpoint(tmp_path / "nowhere.pt", ARCHITECTURE)


def test_a_checkpoint_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "MAX_CHECKPOINT_BYTES", 1000)
    with pytest.raises(ConversionError, match="more than 1000; save the network's state_dict alone"):
        Weights.from_checkpoint(checkpoint(tmp_path), ARCHITECTURE)


def test_a_checkpoint_that_changed_after_it_was_named_is_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    weights = Weights.from_checkpoint(path, ARCHITECTURE)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ConversionError, match="changed since it was named"):
        torch_network(ARCHITECTURE, weights)


def test_the_identity_of_weights_is_their_content_and_not_their_path(tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    other = path.rename(tmp_path / "renamed.pt")
    first = Weights.from_checkpoint(other, ARCHITECTURE)
    assert first.identity == Weights.from_checkpoint(checkpoint(tmp_path), ARCHITECTURE).identity
    assert Weights.seeded(0).identity != Weights.seeded(1).identity


@pytest.mark.parametrize("fields", [{}, {"seed": -1}])
def test_weights_without_a_source_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="weights: "):
        Weights(**fields)  # type: ignore[arg-type]
