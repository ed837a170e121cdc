"""What model files are timed beside: a reference that is named takes the batch of the files beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories.model_files import dense, save

from device_agents.pacing import Durations
from harness.measurement.workload import Model
from harness.models.file_source import MeasuredModels
from harness.models.files import FileModel, open_one
from space.errors import ConfigError


class Even:
    """A probe that says of every model that it takes a millisecond."""

    def stored(self, model: Model) -> None:
        return None

    def measured(self, model: Model, reference: Model) -> Durations:
        return Durations(network_ns=1e6, reference_ns=1e6, reference=reference.graph_hash)


def source(
    file: FileModel, reference: FileModel, batches: tuple[int, ...], *, exchanged: bool
) -> MeasuredModels:
    return MeasuredModels(
        networks=None,
        files=[file],
        reference=reference,
        on_progress=lambda *_: None,
        exchanged=exchanged,
        batches=batches,
    )


def batches_of(models: MeasuredModels) -> list[tuple[str, int, str, int]]:
    """Return what runs beside what in each group, with the images that each is run with."""
    found = []
    for group in models.groups("onnx", ["fp32"], Even()):
        (model,) = group.source.models("onnx", "fp32")
        reference = group.source.reference("onnx", "fp32")
        assert model.batch == reference.batch, "a configuration has one batch"
        runs = [one.assemble().recipe().get("batch", 1) for one in (model, reference)]
        found.append((model.architecture, runs[0], reference.architecture, runs[1]))
    return found


def test_a_batch_of_two_files_that_exchange_roles_is_that_of_both(tmp_path: Path) -> None:
    a, b = (
        open_one(str(save(dense(("n", 8), width=width), tmp_path / name)))
        for width, name in ((8, "a.onnx"), (9, "b.onnx"))
    )
    assert batches_of(source(a, b, (1, 4), exchanged=True)) == [
        ("a.onnx", 1, "b.onnx", 1),
        ("b.onnx", 1, "a.onnx", 1),
        ("a.onnx", 4, "b.onnx", 4),
        ("b.onnx", 4, "a.onnx", 4),
    ]
    assert batches_of(source(a, b, (1, 4), exchanged=False)) == [
        ("a.onnx", 1, "b.onnx", 1),
        ("a.onnx", 4, "b.onnx", 4),
    ]


def test_a_reference_that_takes_one_image_is_refused_the_batch_of_the_other(tmp_path: Path) -> None:
    free = open_one(str(save(dense(("n", 8)), tmp_path / "a.onnx")))
    fixed = open_one(str(save(dense(), tmp_path / "b.onnx")))
    for exchanged in (True, False):
        with pytest.raises(ConfigError, match=r"b\.onnx: --batch 4"):
            source(free, fixed, (4,), exchanged=exchanged)
