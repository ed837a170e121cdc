"""Torch modules and exported programs as files to measure: saved by torch.export, with the tensors that they run on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from exporters.torch_programs import model_name, save_program, save_values
from space.errors import ConfigError, shown

if TYPE_CHECKING:
    from exporters.torch_programs import TorchModel as TorchModel

MOST_BYTES = 200  # of a name: files have 255, the suffix among them


@contextmanager
def saved_programs(
    models: Sequence[str | Path | TorchModel],
    inputs: str | Path | Sequence[Any] | None,
    names: Sequence[str] = (),
) -> Iterator[tuple[tuple[str, ...], Path | None]]:
    """Yield the models to measure as names, each torch model as a file of a temporary folder, and the .npz file of given values.

    inputs: that file, or the tensor or tensors that the torch models take; a module is exported in its evaluation mode for these.
    `names`: what the torch models are called, by default their classes.
    Raises: ConfigError for a module without inputs, one that torch does not export, or a name that no file can have.
    """
    alone = hasattr(inputs, "shape")  # a tensor, whose images a tuple would take for as many tensors
    tensors = (
        None if inputs is None or isinstance(inputs, str | Path) else (inputs,) if alone else tuple(inputs)
    )
    values = None if inputs is None or tensors is not None else Path(inputs)  # type: ignore[arg-type]
    if tensors is not None and all(isinstance(one, str | Path) for one in models):
        raise ConfigError(
            "inputs = (...): tensors are for torch modules; of files name an .npz file of values"
        )
    with TemporaryDirectory(prefix="harness-") as folder:
        paths = []
        for number, model in enumerate(models):
            if isinstance(model, str | Path):
                paths.append(str(model))
                continue
            name = _file_name(names[number]) if names else model_name(model)
            path = Path(folder) / str(number) / f"{name}.pt2"
            path.parent.mkdir()
            found = save_program(model, tensors, path)
            paths.append(str(path))
            if tensors is not None:
                values = Path(folder) / "values.npz"
                save_values(found, values)
        yield tuple(paths), values


def _file_name(name: str) -> str:
    """Return a name as it is. Raises: ConfigError for one that no file can have."""
    if (
        not isinstance(name, str)
        or not name.isprintable()
        or not 0 < len(name.encode()) <= MOST_BYTES
        or "/" in name
    ):
        raise ConfigError(
            f"models: {shown(name)} names no model; give 1 to {MOST_BYTES} printable characters, none of them '/'"
        )
    return name
