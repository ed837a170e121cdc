"""Torch modules and exported programs of the person's own process, saved by torch.export. Imports torch, late."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from space.errors import ConfigError, shown
from space.text import reason_of

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    TorchModel = nn.Module | ExportedProgram


def model_name(model: TorchModel) -> str:
    """Return a model's name: its class, or that it is a program."""
    import torch

    return type(model).__name__ if isinstance(model, torch.nn.Module) else "program"


def save_program(model: TorchModel, tensors: tuple[Any, ...] | None, path: Path) -> dict[str, Any]:
    """Save a model as a program, and return the given tensors by the names of its inputs; other values are the program's own.

    Raises: ConfigError for a module without tensors, one that torch does not export, and what is no model.
    """
    import torch
    from torch.utils import _pytree as pytree

    if isinstance(model, torch.nn.Module):
        if tensors is None:
            raise ConfigError(
                f"{model_name(model)}: a torch module runs on tensors; give them: inputs=(tensor,)"
            )
        program = _exported(model, tensors)
    elif isinstance(model, torch.export.ExportedProgram):
        program = model
    else:
        raise ConfigError(
            f"{shown(model)} is no model; name a network, or give a file, a torch module or an exported program"
        )
    torch.export.save(program, path)
    given = zip(program.graph_signature.user_inputs, pytree.tree_leaves(tensors or ()), strict=False)
    return {str(name): one for name, one in given if isinstance(one, torch.Tensor)}


def _exported(module: nn.Module, tensors: tuple[Any, ...]) -> ExportedProgram:
    import torch

    elsewhere = {str(one.device) for one in (*module.parameters(), *module.buffers())} - {"cpu"}
    if elsewhere:
        raise ConfigError(
            f"{model_name(module)}: its weights lie on {', '.join(elsewhere)}; give module.cpu()"
        )
    modes = {one: one.training for one in module.modules()}
    module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, tensors)
    except Exception as error:  # whatever torch raises for what it does not trace
        raise ConfigError(
            f"{model_name(module)}: torch.export does not take it: {reason_of(error)}; export it yourself to .onnx or .pt2, and "
            "name the file"
        ) from error
    finally:
        for one, is_training in modes.items():
            one.training = is_training


def save_values(tensors: dict[str, Any], path: Path) -> None:
    """Write tensors by name as an .npz file. Raises: ConfigError for such that numpy does not hold."""
    import numpy as np

    try:
        np.savez(path, **{name: one.detach().numpy() for name, one in tensors.items()})
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"inputs = (...): no tensors that numpy holds ({reason_of(error)}); give such of float32, say"
        ) from error
