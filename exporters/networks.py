"""Fragments and networks in PyTorch with the weights that are exported, BatchNorm folded. Imports torch."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from exporters.chain_modules import fold, seeded_generator, seeded_module, set_weights, traced_module
from exporters.errors import ConversionError
from exporters.fragments import GLUE, Fragment, fragments_of
from exporters.weights import Weights, WeightsFile, checkpoint_digest
from space import Architecture, SpaceConfig
from space.layers import build_op
from space.networks import Reduction, build_head, build_network, build_stem
from space.state_notes import noted_architecture, noted_task
from space.text import first_of, reason_of

HALF_MOST = torch.finfo(torch.float16).max
_SHOWN_KEYS = 4
# What torch was seen to raise for damaged files.
_DAMAGED = (
    *(OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error),
)


class Sum(nn.Module):
    """Add two values: the glue of a stage's wiring."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Map two tensors of one shape to their sum."""
        return a + b


def fragment_module(
    fragment: Fragment, config: SpaceConfig, weights: Weights, *, folded: bool = True
) -> nn.Module:
    """Build one fragment for inference, its weights set; `folded`: its BatchNorm is folded into the convolutions.

    Raises:
        ConversionError: a checkpoint does not fit its architecture.
    """
    is_chains, seed, graph = config.chain is not None and fragment != GLUE, weights.seed or 0, None
    if not is_chains:
        module = _empty_fragment(fragment, config)
        if weights.checkpoint is None:
            _draw_weights(module, fragment, seed)
    elif weights.checkpoint is None:
        module, graph = seeded_module(fragment, config, seed)
    else:
        module, graph = traced_module(fragment, config)
    if weights.checkpoint is not None:
        module.load_state_dict(_own_state(fragment, weights.checkpoint))
    module = module.eval().requires_grad_(False)
    if folded:
        module = fold_batch_norm(module) if graph is None else fold(fragment, module, graph)
    for name, tensor in _real_tensors(module):
        if not bool(torch.isfinite(tensor).all()):
            raise ConversionError(
                f"{fragment}: {name} is not finite once its BatchNorm is folded into it; check running_var and weight of that "
                "BatchNorm, and take another checkpoint"
            )
    return module


def check_half(module: nn.Module, where: str = "") -> None:
    """Check that fp16 holds a module's weights: none beyond its largest number, and no kernel of which zeros alone are left.

    Raises:
        ConversionError: with the tensor's name behind `where`, and its value.
    """
    for name, tensor in _real_tensors(module):
        most, halved = float(tensor.abs().max()), tensor.half()
        if not bool(torch.isfinite(halved).all()):
            raise ConversionError(
                f"{where}{name} holds {most:.6g}, and fp16 has no number beyond {HALF_MOST:.0f}; export fp32, or train it with "
                "smaller weights (weight decay, no BatchNorm of a variance near 0)"
            )
        if tensor.ndim > 1 and most > 0 and not bool(halved.any()):
            raise ConversionError(
                f"{where}{name} holds {most:.2g} at most, all of which fp16 rounds to 0; export fp32, or set it to 0 if this "
                "layer does nothing"
            )


def constant_beyond_half() -> ConversionError:
    """Return the error of a constant, of a module's own code, that fp16 does not hold."""
    return ConversionError(
        f"a constant in it is beyond {HALF_MOST:.0f}, the largest number of fp16; export fp32, or let it compute with smaller "
        "constants"
    )


def _real_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    named = (*module.named_parameters(), *module.named_buffers())
    return ((name, one.detach()) for name, one in named if one.is_floating_point() and one.numel())


def torch_network(architecture: Architecture, weights: Weights, *, folded: bool = True) -> nn.Module:
    """Build a whole network for inference with exactly the weights of its exported fragments.

    `folded` False keeps BatchNorm, as in training.

    Raises:
        ConversionError: a checkpoint does not fit its architecture, or the architecture is another one.
    """
    network: nn.Module = build_network(architecture)
    for fragment in fragments_of(architecture):
        if fragment != GLUE:
            module = fragment_module(fragment, architecture.config, weights, folded=folded)
            network.set_submodule(fragment.module_path, module)
    return network.eval().requires_grad_(False)


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Fold, in place, every BatchNorm that follows a convolution in an `nn.Sequential` into its weights."""
    for sequence in module.modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        for i in reversed(range(len(sequence) - 1)):
            conv, norm = sequence[i], sequence[i + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[i] = fuse_conv_bn_eval(conv, norm).requires_grad_(False)
                del sequence[i + 1]
    return module


def _own_state(fragment: Fragment, checkpoint: WeightsFile) -> Mapping[str, Tensor]:
    """Return a fragment's part of a checkpoint. Raises: ConversionError where its architecture has no such fragment."""
    prefix = fragment.module_path + "."
    state = _checkpoint_state(checkpoint)
    if fragment != GLUE and fragment not in fragments_of(checkpoint.architecture):
        raise ConversionError(
            f"checkpoint {checkpoint.path} holds {checkpoint.architecture}, which has no {fragment}; "
            "export that architecture alone"
        )
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _empty_fragment(fragment: Fragment, config: SpaceConfig) -> nn.Module:
    if fragment.kind == "glue":
        return Sum()
    if fragment.kind == "stem":
        return build_stem(config)
    if fragment.kind == "head":
        return build_head(config)
    width = config.widths[fragment.stage or 0]
    return Reduction(width) if fragment.op is None else build_op(fragment.op, width)


# --- weights from a seed --------------------------------------------------------------------------------------


def _draw_weights(module: nn.Module, fragment: Fragment, seed: int) -> None:
    """Set weights that keep activations at a sane scale through every network of a space.

    Convolutions are drawn as by He et al. (arXiv:1502.01852, eq. 10); BatchNorm statistics scatter about those
    of a normalized input. Against growth by sums, the last BatchNorm of each of n residual branches is scaled by
    1/n, and a reduction's by 0.4.
    """
    rng, gains = seeded_generator(fragment, seed), _norm_gains(module, fragment)
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            set_weights(layer.weight, rng.normal(0, np.sqrt(2 / fan_in), tuple(layer.weight.shape)))
            if layer.bias is not None:
                set_weights(layer.bias, rng.uniform(-0.1, 0.1, tuple(layer.bias.shape)))
        elif isinstance(layer, nn.BatchNorm2d):
            shape, gain = (layer.num_features,), gains.get(path, 1.0)
            set_weights(layer.weight, gain * rng.uniform(0.8, 1.2, shape))
            set_weights(layer.bias, gain * rng.uniform(-0.1, 0.1, shape))
            assert layer.running_mean is not None and layer.running_var is not None
            set_weights(layer.running_mean, rng.uniform(-0.1, 0.1, shape))
            set_weights(layer.running_var, rng.uniform(0.8, 1.2, shape))


def _norm_gains(module: nn.Module, fragment: Fragment) -> Mapping[str, float]:
    norms = [path for path, layer in module.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    if fragment.kind == "reduction":
        return {path: 0.4 for path in norms}
    branches = getattr(module, "layers", None)
    if not isinstance(branches, nn.ModuleList):
        return {}
    last = {path.split(".")[1]: path for path in norms}  # layers.BRANCH.unit.norm
    return {path: 1 / len(branches) for path in last.values()}


# --- weights from a checkpoint --------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _checkpoint_state(checkpoint: WeightsFile) -> Mapping[str, Tensor]:
    path = checkpoint.path
    if checkpoint_digest(path) != checkpoint.sha256:
        raise ConversionError(f"checkpoint {path} changed since it was named; name it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage that is refused all the same
            state = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        # Of what it would have to run torch says how to run it all the same.
        reason = "" if isinstance(error, pickle.UnpicklingError) else f": {reason_of(error)}"
        raise ConversionError(
            f"checkpoint {path} is not a file of tensors that torch can load safely{reason}; "
            "write it with torch.save(network.state_dict(), path)"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ConversionError(
            f"checkpoint {path} is no state_dict; write torch.save(network.state_dict(), path)"
        )
    _check_note(checkpoint, state)
    faults = _faults(state, build_network(checkpoint.architecture).state_dict())
    if faults:
        raise ConversionError(
            f"checkpoint {path} does not fit {checkpoint.architecture}: {'; '.join(faults)}; "
            "name the architecture that it was trained as"
        )
    return state


def _faults(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return the faults that keep weights from being a network's, whose own are `expected`: by kind, each with its names."""
    there = {key: (state[key], value) for key, value in expected.items() if key in state}
    plain = {key: found for key, (found, value) in there.items() if _is_plain(found, value)}
    found = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [str(key) for key in state if key not in expected],
        "of another shape": [
            f"{key} {tuple(given.shape)} instead of {tuple(value.shape)}"
            for key, (given, value) in there.items()
            if given.shape != value.shape
        ],
        "no plain numbers of such a type": [
            f"{key} {there[key][0].dtype}, {there[key][0].layout}" for key in there if key not in plain
        ],
        "not finite": [key for key, given in plain.items() if not bool(torch.isfinite(given).all())],
    }
    return [f"{word} {first_of(keys, _SHOWN_KEYS)}" for word, keys in found.items() if keys]


def _is_plain(given: Tensor, expected: Tensor) -> bool:
    """Return whether a tensor holds dense numbers in this memory, reals where reals are expected."""
    is_dense = given.layout == torch.strided and not given.is_quantized and not given.is_meta
    return is_dense and (given.is_floating_point() or not expected.is_floating_point())


def task_of_checkpoint(checkpoint: WeightsFile) -> str:
    """Return the name of the task that a file's weights were trained on; empty where it says none.

    Raises:
        ConversionError: the file cannot be read, or does not fit its architecture.
    """
    return noted_task(_checkpoint_state(checkpoint))


def _check_note(checkpoint: WeightsFile, state: object) -> None:
    """Refuse weights that say they are another network's, whose shapes may be the same."""
    noted, wanted = noted_architecture(state), checkpoint.architecture
    if noted is None or (noted.config, str(noted)) == (wanted.config, str(wanted)):
        return
    of, to = (f"{one} of space {one.config.name!r}" for one in (noted, wanted))
    if noted.config.name == wanted.config.name and noted.config != wanted.config:
        of, to = f"{of} as it was ({noted.config})", f"{to} as it is now"
    raise ConversionError(
        f"checkpoint {checkpoint.path} holds the weights of {of}, not of {to}; "
        "name the architecture and the space that it was trained as"
    )
