"""Images that a checkpoint's network is calibrated on, and int8 models made with them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rigs.model_runs import run_model
from rigs.no_plain_files import KINDS, no_plain_file
from rigs.whole_networks import convert_networks
from torch import nn

from exporters import ConversionError, FragmentLibrary, Weights
from exporters import calibration as calibration_module
from exporters import calibration_images as images_module
from exporters.calibration import calibrate
from exporters.calibration_images import named_images, save_images
from exporters.fragments import GLUE, Fragment, all_fragments, possible_steps, value_shape
from exporters.networks import fragment_module, torch_network
from space import BLOX, DEEP, TINY, Architecture, SpaceConfig
from space.networks import build_network
from space.segments import Segment

ARCHITECTURE = Architecture.parse("conv-mbconv+in/bconv", TINY)
UNWIRED = Architecture.parse("conv/mbconv", TINY)  # no sum and one op a stage


def some_images(count: int = 20, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def weights_of(folder: Path, architecture: Architecture, images: NDArray[np.float32] | None) -> Weights:
    """Return a fresh network's weights, to be calibrated on images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        torch.save(build_network(architecture).state_dict(), folder / "network.pt")
    if images is None:
        return Weights.from_checkpoint(folder / "network.pt", architecture)
    save_images(folder / "images.npz", images)
    return Weights.from_checkpoint(folder / "network.pt", architecture, calibration=folder / "images.npz")


# --- images that are refused ----------------------------------------------------------------------------------


def with_nan() -> NDArray[np.float32]:
    images = some_images()
    images[3, 1, 2, 2] = np.nan
    return images


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (with_nan(), "hold values that are not finite"),
        (some_images() * np.float32(0), "are all alike"),
        (np.repeat(some_images(1), 20, axis=0), "are all alike"),
        (some_images()[:, :, :7], r"of shape \(20, 3, 7, 8\); space 'tiny' reads float32 of \(n, 3, 8, 8\)"),
        (some_images().transpose(0, 2, 3, 1), r"of shape \(20, 8, 8, 3\)"),
        (some_images()[0], r"of shape \(3, 8, 8\)"),
        (some_images().astype(np.float64), "are float64"),
        (some_images(15), "are 15; choose 16 to 256"),
        (some_images(257), "are 257; choose 16 to 256"),
    ],
)
def test_images_that_give_no_honest_range_are_refused(
    images: NDArray[np.float32], complaint: str, tmp_path: Path
) -> None:
    save_images(tmp_path / "images.npz", images)
    with pytest.raises(ConversionError, match=complaint) as refusal:
        named_images(tmp_path / "images.npz", TINY)
    assert "images.npz" in str(refusal.value)


def claiming(size_bytes: int) -> bytes:
    """Return an archive whose array says that it has more bytes than there are."""
    entry = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        entry, {"shape": (size_bytes // 4,), "fortran_order": False, "descr": "<f4"}
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("images.npy", entry.getvalue())
    return packed.getvalue()


def pickled() -> bytes:
    """Return an archive whose array would run code."""
    packed = io.BytesIO()
    np.savez(packed, images=np.array([print, None], object))
    return packed.getvalue()


def bomb() -> bytes:
    """Return a small archive that unpacks to more than is read."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(2_000_000))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"no archive", "no .npz of plain arrays"),
        (pickled(), "no .npz of plain arrays"),
        (claiming(1 << 60), "no .npz of plain arrays"),
        (bomb(), "2000000 bytes of arrays, more than 1000000"),
        (bytes(1_000_001), "1000001 bytes, more than 1000000"),
    ],
)
def test_a_file_that_holds_no_images_or_too_much_is_refused(
    content: bytes, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images_module, "MAX_FILE_BYTES", 1_000_000)
    (tmp_path / "images.npz").write_bytes(content)
    with pytest.raises(ConversionError, match=complaint):
        named_images(tmp_path / "images.npz", TINY)


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_no_plain_file_are_refused_at_once(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConversionError, match="is no plain file"):
        named_images(no_plain_file(kind, tmp_path / "images.npz"), TINY)


def test_absent_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"nowhere\.npz cannot be read: No such file"):
        named_images(tmp_path / "nowhere.npz", TINY)


# --- images that count ----------------------------------------------------------------------------------------


def test_images_are_part_of_what_weights_are_and_their_file_is_not(tmp_path: Path) -> None:
    plain, first = (weights_of(tmp_path, ARCHITECTURE, images) for images in (None, some_images()))
    np.savez_compressed(tmp_path / "images.npz", images=some_images())
    packed = Weights.from_checkpoint(
        tmp_path / "network.pt", ARCHITECTURE, calibration=tmp_path / "images.npz"
    )
    other = weights_of(tmp_path, ARCHITECTURE, some_images(seed=1))
    assert first.identity == packed.identity
    assert len({plain.identity, first.identity, other.identity}) == 3


def test_images_that_changed_after_they_were_named_are_refused(tmp_path: Path) -> None:
    weights = weights_of(tmp_path, ARCHITECTURE, some_images())
    save_images(tmp_path / "images.npz", some_images(seed=1))
    with pytest.raises(ConversionError, match="changed since they were named"):
        calibrate(TINY, weights)


class Level(nn.Module):
    """A fragment that writes one number everywhere: of its op 1, 2 or 3, ten times that of an op1, else 1000."""

    def __init__(self, fragment: Fragment, config: SpaceConfig) -> None:
        super().__init__()
        place = 10 if fragment.slot else 1
        level = 1000 if fragment.op is None else place * (1 + config.ops.index(fragment.op))
        output = possible_steps(fragment, config)[0].output
        self.written = torch.full(value_shape(output, config), float(level))

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.written


@pytest.mark.parametrize("config", [TINY, BLOX, DEEP], ids=lambda config: config.name)
def test_a_fragment_is_calibrated_on_what_each_op_and_sum_before_it_writes(
    config: SpaceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def module(fragment: Fragment, config: SpaceConfig, weights: Weights) -> nn.Module:
        return fragment_module(fragment, config, weights) if fragment == GLUE else Level(fragment, config)

    monkeypatch.setattr(calibration_module, "fragment_module", module)
    inputs = calibrate.__wrapped__(config, Weights.seeded(0)).inputs
    for fragment in all_fragments(config):
        levels = {int(given[0].flatten()[0]) for given in inputs.get(fragment, ())}
        if fragment.slot == 1:
            assert levels == {1000, 1, 2, 3, 1001, 1002, 1003}, str(fragment)
        elif fragment.kind == "reduction":  # of sums those of the ops that stood together in some network
            sums = levels - {10, 20, 30}
            assert levels > sums and len(levels - sums) == 3, str(fragment)
            assert {level // 10 for level in sums} == {level % 10 for level in sums} == {1, 2, 3}


def test_ranges_are_those_of_the_network_on_its_images(tmp_path: Path) -> None:
    images = some_images() * np.float32(3)
    weights = weights_of(tmp_path, ARCHITECTURE, images)
    logits = torch_network(ARCHITECTURE, weights)(torch.from_numpy(images))
    found = calibrate(TINY, weights)
    low, high = found.ranges["logits"]
    assert low == pytest.approx(min(0.0, float(logits.min())), rel=1e-4)
    assert high == pytest.approx(float(logits.max()), rel=1e-4)
    assert found.ranges["image"] == (float(images.min()), float(images.max()))
    assert {len(kept) for kept in found.inputs.values()} == {20}, (
        "each fragment keeps what it read of all images"
    )


@pytest.mark.converter
@pytest.mark.parametrize("architecture", [ARCHITECTURE, UNWIRED], ids=str)
def test_a_calibrated_network_in_int8_is_the_whole_conversion_with_the_same_scales(
    architecture: Architecture, tmp_path: Path
) -> None:
    images = some_images()
    weights = weights_of(tmp_path, architecture, images)
    library = FragmentLibrary.open("onnx", cache_dir=tmp_path, config=TINY, weights=weights, precision="int8")
    linked = library.assembly(architecture).whole()
    (whole,) = convert_networks([architecture], "onnx", weights, "int8")
    expected = torch_network(architecture, weights)(torch.from_numpy(images)).numpy()
    logits = run_model("onnx", linked, images)
    wholes = run_model("onnx", whole.model, images)
    assert logits.tobytes() == wholes.tobytes()
    assert 0 < np.sqrt(((logits - expected) ** 2).mean()) < 0.05 * expected.std()
    with pytest.raises(ConversionError, match="int8 fits a checkpoint's whole network alone"):
        library.assembly(Segment(config=TINY, kind="head"))
