"""Fragment libraries of the whole default space, exported once in a run of the tests."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporters import FragmentLibrary, Precision
from exporters.cache import FragmentCache
from exporters.fragments import Fragment
from space import Space

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def exported_once(folder: Path) -> Iterator[None]:
    """Let one process of the run at a time open libraries in a folder: the others find there what the first exported."""
    open_library = FragmentLibrary.open

    def open_alone(*arguments: Any, cache_dir: Path, **named: Any) -> FragmentLibrary:
        with (folder / "lock").open("w") as lock:
            if Path(cache_dir).resolve() == folder:
                fcntl.flock(lock, fcntl.LOCK_EX)
            return open_library(*arguments, cache_dir=cache_dir, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FragmentLibrary, "open", open_alone)
        yield


def library_of_ops(
    ops: Mapping[str, Callable[[int], nn.Module]], folder: Path, precision: Precision = "fp32", size: int = 8
) -> FragmentLibrary:
    """Return the TFLite library of a space of one stage with ops of one's own, exported in this process, which knows them."""
    from exporters.tflite_export import export_fragment
    from space.layers import OPS

    def export_here(fragments: Sequence[tuple[Fragment, str]], *_: Any, **named: Any) -> None:
        for fragment, key in fragments:
            exported = export_fragment(fragment, named["config"], named["weights"], precision)
            FragmentCache(root=named["cache_dir"]).save(key, exported)
            named["on_progress"](str(fragment))

    config = Space(name="own", ops=tuple(ops), widths=(size,), image_size=size, classes=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporters.library.convert_fragments", export_here)
        for name, build in ops.items():
            patch.setitem(OPS, name, build)
        return FragmentLibrary.open("tflite", cache_dir=folder, config=config, precision=precision)


@pytest.fixture(scope="session")
def onnx_library(harness_cache: Path) -> FragmentLibrary:
    """The ONNX library of Blox with the weights of seed 0."""
    return FragmentLibrary.open("onnx", cache_dir=harness_cache / "fragments")


@pytest.fixture(scope="session")
def tflite_library(harness_cache: Path) -> FragmentLibrary:
    """The TFLite library of Blox with the weights of seed 0."""
    return FragmentLibrary.open("tflite", cache_dir=harness_cache / "fragments")


@pytest.fixture(params=["onnx", "tflite"])
def library(request: pytest.FixtureRequest) -> FragmentLibrary:
    """Each format's library in turn: what asks for it is the contract of both."""
    found = request.getfixturevalue(f"{request.param}_library")
    assert isinstance(found, FragmentLibrary)
    return found
