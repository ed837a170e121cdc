"""Torch modules and exported programs as files to measure: saved by torch.export, with the tensors that they run on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from exporters.torch_programs import model_name, save_program, save_values
from space.errors import ConfigError

if TYPE_CHECKING:
    from exporters.torch_programs import TorchModel as TorchModel


@contextmanager
def saved_programs(
    models: Sequence[str | Path | TorchModel], inputs: str | Path | Sequence[Any] | None
) -> Iterator[tuple[tuple[str, ...], Path | None]]:
    """Yield the models to measure as names, each torch model as a file of a temporary folder, and the .npz file of given values.

    inputs: that file, or the tensors that the torch models take; a module is exported in its evaluation mode for these.
    Raises: ConfigError for a module without inputs, or one that torch does not export.
    """
    tensors = None if inputs is None or isinstance(inputs, str | Path) else tuple(inputs)
    values = None if inputs is None or tensors is not None else Path(inputs)  # type: ignore[arg-type]
    if tensors is not None and all(isinstance(one, str | Path) for one in models):
        raise ConfigError(
            "inputs = (...): tensors are for torch modules; of files name an .npz file of values"
        )
    with TemporaryDirectory(prefix="harness-") as folder:
        names = []
        for number, model in enumerate(models):
            if isinstance(model, str | Path):
                names.append(str(model))
                continue
            path = Path(folder) / str(number) / f"{model_name(model)}.pt2"
            path.parent.mkdir()
            found = save_program(model, tensors, path)
            names.append(str(path))
            if tensors is not None:
                values = Path(folder) / "values.npz"
                save_values(found, values)
        yield tuple(names), values
