"""What `measure`, `sustain` and `pack` are asked for from Python: one request, whichever is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.model_files import dense, save

import harness
from harness.devices.config import Device
from harness.measurement.campaign import Outcome
from harness.models.file_names import GivenInputs
from harness.models.file_source import MeasuredModels
from harness.prediction import measure as measuring
from harness.prediction import pack as packing
from harness.prediction import under_load
from harness.prediction.measure import MANY_FILES, Measured, Progress, asked_source
from harness.prediction.request import MeasureRequest
from space import BLOX, TINY
from space.errors import ConfigError

DEVICE = Device(name="board", transport="packed")
MORE: dict[str, dict[str, Any]] = {
    "measure": {},
    "sustain": {"duration": "3s"},
    "pack": {"output": "job.zip"},
}


def asked(monkeypatch: pytest.MonkeyPatch, name: str, see: Callable[[Any], None], **given: Any) -> None:
    """Call a public function on DEVICE, and have its request seen in place of any device."""

    def note(request: Any, *_: Any) -> Measured:
        see(request)
        return Measured(outcomes=(Outcome(device="board"),))

    for module, called in (
        (measuring, "measure_devices"),
        (under_load, "measure_devices"),
        (packing, "pack_requested"),
    ):
        monkeypatch.setattr(module, called, note)
    with harness.open_store("sqlite://") as store:
        getattr(harness, name)(**{"device": DEVICE, "store": store} | MORE[name] | given)


@pytest.mark.parametrize("name", MORE)
def test_each_function_takes_models_inputs_and_a_space_as_the_others_do(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    given = {
        "shapes": {"x": [1, 8]},
        "inputs": "values.npz",
        "expect": Path("right.npz"),
        "signature": "serve",
        "runtimes": "onnxruntime",
        "precision": "int8",
        "batch": (1, 8),
        "cores": [2, 3],
        "threads": 2,
        "space": TINY,
    }
    asked(monkeypatch, name, found.append, models=[Path("net.onnx"), "conv/conv"], **given)
    asked(monkeypatch, name, found.append, models=Path("net.onnx"))
    both, one = found
    assert both.devices == (DEVICE,)
    assert (both.files, both.networks, one.models) == (("net.onnx",), ("conv/conv",), ("net.onnx",))
    assert both.inputs == GivenInputs(
        shapes={"x": (1, 8)}, values=Path("values.npz"), expect=Path("right.npz"), signature="serve"
    )
    assert (both.runtimes, both.precisions, both.batches) == (("onnxruntime",), ("int8",), (1, 8))
    assert (both.cores, both.threads, both.space, one.batches) == ((2, 3), 2, "tiny", (1,))


@pytest.mark.parametrize("name", MORE)
def test_networks_are_named_as_python_and_dataframes_hold_them_and_numbers_as_the_command_line_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    for models in (BLOX.sample(2, seed=1), 17, [BLOX[17], np.int64(18)], np.array(["conv/conv/conv", "all"])):
        asked(monkeypatch, name, found.append, models=models, cores="2-3", batch="1,8")
    sampled = tuple(map(str, BLOX.sample(2, seed=1)))
    assert [one.networks for one in found] == [
        sampled,
        ("17",),
        (str(BLOX[17]), "18"),
        ("conv/conv/conv", "all"),
    ]
    assert {(one.cores, one.batches) for one in found} == {((2, 3), (1, 8))}
    asked(monkeypatch, name, found.append, models=BLOX[3], batch=np.int64(8))
    assert found[-1].batches == (8,)
    with pytest.raises(ConfigError, match=r"'1\.5' is no number of images"):
        asked(monkeypatch, name, found.append, models=BLOX[3], batch=1.5)


@pytest.mark.parametrize("name", MORE)
def test_what_is_no_store_is_refused_before_anything_is_done(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"store = 'lab.sqlite': no open store; give harness.open_store"):
        asked(
            monkeypatch,
            name,
            lambda request: pytest.fail("was asked"),
            models="conv/conv",
            store="lab.sqlite",
        )


@pytest.mark.parametrize("name", MORE)
def test_a_torch_model_is_a_file_while_it_is_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen, is_there = object(), list[Any](), [False]

    @contextmanager
    def saved(models: Any, inputs: Any, names: Any) -> Iterator[tuple[tuple[str, ...], Path]]:
        assert (models, inputs, names) == ([model], ["a tensor"], ())
        is_there[0] = True
        yield ("Net.pt2",), Path("values.npz")
        is_there[0] = False

    def see(request: Any) -> None:
        seen.extend((request.models, request.inputs.values, *is_there))

    monkeypatch.setattr(measuring, "saved_programs", saved)
    asked(monkeypatch, name, see, models=model, inputs=["a tensor"])
    assert (seen, is_there) == ([("Net.pt2",), Path("values.npz"), True], [False])


@pytest.mark.parametrize("batch", [8, "1,8", [8]])
def test_a_batch_of_a_torch_model_is_that_of_its_inputs(batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"^batch = .*: torch modules run on the tensors of inputs; give these"
    ):
        asked(
            *(monkeypatch, "measure", lambda request: pytest.fail("was asked")),
            models=object(),
            inputs=["a tensor"],
            batch=batch,
        )


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *((name, given) for name in MORE for given in ("models", "batch")),
        ("measure", "device"),
        ("sustain", "device"),
    ],
)
def test_an_empty_list_is_refused_and_stands_for_nothing_else(
    name: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=rf"{given} = \[\]: name one or several"):
        asked(
            monkeypatch, name, lambda request: pytest.fail("was asked"), **{"models": "conv/conv", given: []}
        )


@pytest.mark.parametrize("count", [MANY_FILES - 1, MANY_FILES])
def test_that_many_files_are_read_is_said(count: int, tmp_path: Path) -> None:
    for number in range(count):
        save(dense(), tmp_path / f"{number}.onnx")
    said: list[str] = []
    source, _ = asked_source(
        MeasureRequest(devices=(DEVICE,), models=(str(tmp_path),)), TINY, Progress(said.append)
    )
    assert isinstance(source, MeasuredModels) and len(source.files) == count
    assert said == ([f"reading {count} model files"] if count == MANY_FILES else [])


@pytest.mark.converter
def test_torch_models_have_the_names_that_they_are_given_and_a_tensor_alone_is_one_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    wide, narrow = (torch.nn.Conv2d(3, width, 3) for width in (8, 4))
    image = torch.zeros(1, 3, 8, 8)
    seen: list[tuple[list[str], list[int]]] = []

    def see(request: Any) -> None:
        shapes = [list(np.load(request.inputs.values)[name].shape) for name in ("input",)]
        seen.append(([Path(one).name for one in request.files], shapes[0]))

    named = {"a, *wide* [net]": wide, "|conv~0|+|skip~1|": narrow}
    for inputs in (image, (image,)):
        asked(monkeypatch, "measure", see, models=named, inputs=inputs)
    asked(monkeypatch, "measure", see, models=[wide], inputs=image)
    files = ["a, *wide* [net].pt2", "|conv~0|+|skip~1|.pt2"]
    assert seen == [(files, [1, 3, 8, 8])] * 2 + [(["Conv2d.pt2"], [1, 3, 8, 8])]
    for wrong in ("a/b", "", 3, "x" * 201, "a\nb"):
        with pytest.raises(ConfigError, match="names no model; give 1 to 200 printable characters"):
            asked(monkeypatch, "measure", see, models={wrong: wide}, inputs=image)
