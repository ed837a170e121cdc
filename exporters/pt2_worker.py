"""The process that converts a checked .pt2 file (see `exporters.processes.answer_apart`).

The request of `exporters.pt2_file` has the descriptors of the program and of the file for the model; the answer is {} or
{"error": message}.
"""

from __future__ import annotations

import inspect
import io
import os
import warnings
from typing import Any

from exporters.own_run_worker import read_descriptor
from exporters.processes import serve_once

OPSET = 17  # as of the networks' own models: onnxruntime 1.13 and newer read it
MESSAGE_CHARACTERS = 300
SHARE = 1e-3  # that outputs of the two may differ by, of the largest


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Convert the program of a request; return an error where that fails."""
    try:
        with os.fdopen(request["model"], "wb") as file:
            file.write(convert(read_descriptor(request["program"])))
    except MemoryError:
        return {"error": "it wants more memory than this machine has to spare"}
    except Exception as error:  # noqa: BLE001 - whatever torch raises is why it is not converted
        return {"error": message_of(error)}
    return {}


def convert(data: bytes) -> bytes:
    """Return the ONNX model of a program. Raises: what torch raises, ValueError for a program without example inputs."""
    import torch
    from torch.utils import _pytree as pytree

    # Nothing is unpickled but plain tensors: torch.export.load would try that second where the first fails.
    load = torch.load
    torch.load = lambda *args, **options: load(*args, **(options | {"weights_only": True}))
    warnings.simplefilter("ignore")
    program = torch.export.load(io.BytesIO(data))
    if not program.example_inputs:
        raise ValueError("it has no example inputs; export and save it again")
    leaves, tree = pytree.tree_flatten(program.example_inputs)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    names = [
        str(name)
        for name, leaf in zip(program.graph_signature.user_inputs, leaves, strict=True)
        if isinstance(leaf, torch.Tensor)
    ]
    has_guards = "check_guards" in inspect.signature(program.module).parameters
    module = program.module(**({"check_guards": False} if has_guards else {}))
    setattr(module, "train", lambda mode=True: module)  # noqa: B010 - it has one mode, and refuses to change it

    class FlatProgram(torch.nn.Module):
        """The program of flat tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.program = module

        def forward(self, *given: Any) -> Any:
            left = iter(given)
            args, kwargs = pytree.tree_unflatten(
                [next(left) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], tree
            )
            # Not the hooks, which compare sizes.
            found = pytree.tree_leaves(self.program.forward(*args, **kwargs))
            return [leaf for leaf in found if isinstance(leaf, torch.Tensor)]

    run = FlatProgram()
    with torch.no_grad():
        right = [one.numpy() for one in run(*tensors)]
        written: Any = io.BytesIO()  # torch's stubs know of paths alone
        torch.onnx.export(
            run,
            tuple(tensors),
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[
                f"{name}_out" if name in names else name
                for name in program.graph_signature.user_outputs
                if isinstance(name, str)
            ],
            dynamic_axes=free_axes(program, names),
        )
    check(written.getvalue(), dict(zip(names, (one.detach().numpy() for one in tensors), strict=True)), right)
    return bytes(written.getvalue())


def free_axes(program: Any, names: list[str]) -> dict[str, dict[int, str]]:
    """Return the axes that the program leaves free, by input, each with the name of its size."""
    found = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            sizes = enumerate(node.meta["val"].shape)
            free = {axis: str(size) for axis, size in sizes if not isinstance(size, int)}
            if free:
                found[node.name] = free
    return found


def check(model: bytes, inputs: dict[str, Any], right: list[Any]) -> None:
    """Compare the model's outputs with the program's, where onnxruntime is here. Raises: ValueError where they differ."""
    import numpy as np

    try:
        import onnxruntime
    except ModuleNotFoundError:
        return
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    given = {node.name: inputs[node.name] for node in session.get_inputs()}
    for found, output in zip(session.run(None, given), right, strict=True):
        expected = output.astype(np.float64)
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=1e-6)
        limit = largest * (SHARE if output.dtype != np.float16 else 30 * SHARE)
        if found.shape != expected.shape or not np.allclose(found, expected, 0, limit, equal_nan=True):
            raise ValueError(
                "its ONNX model gives other outputs than the program; convert it yourself, and name the .onnx file"
            )


def message_of(error: Exception) -> str:
    """Return torch's message, with a remedy where an operator has no ONNX."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    if type(error).__name__ == "UnsupportedOperatorError":
        text += "; convert it with torch.onnx.export(..., dynamo=True), which knows more of them, and name the .onnx file"
    return text[:MESSAGE_CHARACTERS]


if __name__ == "__main__":
    serve_once(answer)
