"""Candidates of a user's space to TFLite: this program's converter beside kept ones, by operators, outputs, latency, time.

    python -m venv peer && peer/bin/pip install platformdirs litert-torch torch==VERSION  # with the torch that is installed here
    python -m venv onnx && onnx/bin/pip install onnx2tf
    python benchmarks/tflite_converters.py --litert-torch peer/bin/python --onnx2tf onnx/bin/python [--folder FOLDER]

The candidates are those of tests/factories/candidates.py: blocks that a user may write, and all modules that are shipped, as
they are ("shipped mbconv") and with stride 2 and twice the channels ("/2"). Each converter works in one process of its own
environment; its first conversion is done twice and counted once. litert-torch is asked for ends with channels last; onnx2tf
reads the ONNX file that torch.onnx writes, whose time is not counted, and may give feature maps with channels first. "moves"
counts TRANSPOSE operators, "error" is the largest difference to torch on random inputs, "time" the converter's latency over ours,
one thread of LiteRT, the two models taking turns. What a converter does not convert, or converts to a model that LiteRT does not
run or that computes something else, has a reason there and no figure. FOLDER keeps what was converted, and a second run goes on
there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from machine import describe_machine, option_parser

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # peers' environments do not hold this package

WRONG = 1e-3  # outputs of about 1 that differ by more are those of another model
WIDTH = 80

Convert = Callable[[str, Path], bytes]  # from a candidate's name and the place of its files without an ending


def main() -> None:
    """Convert all candidates by each converter and print one table."""
    parser = option_parser(__doc__)
    parser.add_argument("--litert-torch", help="a Python that has litert-torch")
    parser.add_argument("--onnx2tf", help="a Python that has onnx2tf")
    parser.add_argument("--folder", type=Path, help="keeps what is converted")
    parser.add_argument("--convert", choices=CONVERTERS, help=argparse.SUPPRESS)  # in a converter's process
    arguments = parser.parse_args()
    if arguments.convert:
        convert_all(CONVERTERS[arguments.convert], arguments.folder)
        return
    from factories.candidates import CANDIDATES

    pythons = {"ours": sys.executable, "litert-torch": arguments.litert_torch, "onnx2tf": arguments.onnx2tf}
    asked = {name: python for name, python in pythons.items() if python}
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        for name, python in asked.items():
            place = folder / name
            place.mkdir(parents=True, exist_ok=True)
            (place / "names.json").write_text(json.dumps([*CANDIDATES]))
            if name == "onnx2tf":
                write_onnx(place)
            run_converter(name, Path(python).absolute(), place.absolute())
        for row in table(folder, [*asked], [*CANDIDATES]):
            print(row, flush=True)
        print(f"convnext and mobilenet v3, linked from parts / converted whole: {linked_ratio(folder):.3f}")


def run_converter(name: str, python: Path, folder: Path) -> None:
    """Convert in a process of a Python, whose environment's programs come first: onnx2tf runs onnxsim if there is one."""
    command = [python, Path(__file__).absolute(), "--convert", name, "--folder", folder]
    environment = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(
        command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def convert_all(convert: Convert, folder: Path) -> None:
    """Convert the candidates that a folder lacks; write each model, or why there is none, and the seconds it took."""
    names = json.loads((folder / "names.json").read_text())
    missing = [name for name in names if not file_of(folder, name).with_suffix(".json").exists()]
    for name in [*missing[:1], *missing]:  # the first warms up
        place = file_of(folder, name)
        started = time.perf_counter()
        try:
            model, problem = convert(name, place), ""
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a converter raises is its result
            model, problem = b"", reason(error)
        elapsed_s = time.perf_counter() - started
        place.with_suffix(".tflite").write_bytes(model)
        place.with_suffix(".json").write_text(json.dumps({"problem": problem, "elapsed_s": elapsed_s}))


def file_of(folder: Path, name: str) -> Path:
    """Return where a candidate's files lie, without an ending."""
    return folder / name.replace("/", "_").replace(" ", "-")


def convert_ours(name: str, place: Path) -> bytes:
    """Convert by this program."""
    from factories.candidates import candidate
    from rigs.tflite_modules import convert_module

    module, shape = candidate(name)
    return convert_module(module, [shape])


def convert_litert_torch(name: str, place: Path) -> bytes:
    """Convert by litert-torch, the ends with channels last."""
    import litert_torch
    import torch
    from factories.candidates import candidate

    module, shape = candidate(name)
    with torch.inference_mode():
        outputs = [0] if module(torch.zeros(shape)).ndim == 4 else None
    moved = litert_torch.to_channel_last_io(module, args=[0], outputs=outputs).eval()
    image = torch.zeros(shape).permute(0, 2, 3, 1).contiguous()
    litert_torch.convert(moved, (image,)).export(str(place.with_suffix(".out")))
    return place.with_suffix(".out").read_bytes()


def convert_onnx2tf(name: str, place: Path) -> bytes:
    """Convert the ONNX file that lies there: its environment has no torch."""
    import onnx2tf

    folder = place.with_suffix(".saved")
    onnx2tf.convert(
        input_onnx_file_path=str(place.with_suffix(".onnx")),
        output_folder_path=str(folder),
        non_verbose=True,
    )
    return next(folder.glob("*_float32.tflite")).read_bytes()


def write_onnx(folder: Path) -> None:
    """Write the candidates' ONNX files, and random images in place of those that onnx2tf downloads to try what reads images."""
    import numpy as np
    import torch
    from factories.candidates import CANDIDATES, candidate

    images = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save(folder / "calibration_image_sample_data_20x128x128x3_float32.npy", images)
    for name in CANDIDATES:
        path = file_of(folder, name).with_suffix(".onnx")
        if not path.exists():
            module, shape = candidate(name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of branches on sizes; that this exporter is the older one
                torch.onnx.export(module, (torch.zeros(shape),), str(path), opset_version=17, dynamo=False)


CONVERTERS: dict[str, Convert] = {
    "ours": convert_ours,
    "litert-torch": convert_litert_torch,
    "onnx2tf": convert_onnx2tf,
}


def table(folder: Path, converters: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Yield the machine, the columns' names and a row for each candidate and converter, ours first, of what a folder holds."""
    yield describe_machine()
    yield f"{'candidate':29}{'converter':13}{'s':>5}{'ops':>5}{'moves':>6}{'error':>8}{'time':>7}"
    for name in names:
        ours = file_of(folder / "ours", name).with_suffix(".tflite").read_bytes()
        for converter in converters:
            place = file_of(folder / converter, name)
            note = json.loads(place.with_suffix(".json").read_text())
            start, problem, figures = f"{name:29}{converter:13}", note["problem"], ""
            if not problem:
                try:
                    figures = compared(name, place.with_suffix(".tflite").read_bytes(), ours)
                except Exception as error:  # noqa: BLE001 - a model that LiteRT refuses, for whatever reason, is a result
                    problem = reason(error)
            if problem:
                yield textwrap.fill(f"{start} failed: {problem}", WIDTH, subsequent_indent=" " * 4)
            else:
                yield f"{start}{note['elapsed_s']:5.1f}{figures}"


def compared(name: str, model: bytes, ours: bytes) -> str:
    """Return a model's operators, transposes, error and latency over that of ours, where there is one.

    Raises:
        ValueError: its outputs are not those of the candidate.
    """
    from export import latency_ratio
    from factories.candidates import operator_counts

    worst = largest_error(name, model)
    if not worst <= WRONG:
        raise ValueError(f"its outputs are off by {worst:.1g}")
    found = operator_counts(model)
    ratio = f"{1.0 if model == ours else latency_ratio('tflite', model, ours):.3f}" if ours else "-"
    return f"{found.total():5}{found['TRANSPOSE']:6}{worst:8.0e}{ratio:>7}"


def reason(error: BaseException) -> str:
    """Return what an error says first."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return textwrap.shorten(f"{type(error).__name__}: {lines[0] if lines else ''}", 100, placeholder=" ...")


def linked_ratio(folder: Path) -> float:
    """Return the latency of a network linked from parts over that of the same one converted whole."""
    import pytest
    from export import latency_ratio
    from factories.candidates import ConvNeXt, mobilenet_v3
    from rigs.fragment_libraries import library_of_ops
    from rigs.tflite_modules import convert_module

    from exporters.fragments import IMAGE, value_shape
    from exporters.networks import torch_network
    from exporters.weights import Weights
    from space import Architecture
    from space.layers import OPS

    ops = {"convnext": ConvNeXt, "mobile": mobilenet_v3}
    library = library_of_ops(ops, folder / "linked", size=32)
    architecture = Architecture.parse("convnext-mobile+in+out", library.config)
    with pytest.MonkeyPatch.context() as patch:
        for name, build in ops.items():
            patch.setitem(OPS, name, build)
        network = torch_network(architecture, Weights.seeded(0))
    whole = convert_module(network, [value_shape(IMAGE, library.config)])
    return latency_ratio("tflite", library.assembly(architecture).whole(), whole)


def largest_error(name: str, model: bytes) -> float:
    """Return the largest difference between a model's output, whose channels may stand last, and torch's.

    Raises:
        ValueError: it has another shape.
    """
    import torch
    from ai_edge_litert.interpreter import Interpreter
    from factories.candidates import candidate

    module, shape = candidate(name)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 4 - 2
    with torch.inference_mode():
        expected: Any = module(image).numpy()
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(source["index"], image.numpy().transpose(0, 2, 3, 1))
    interpreter.invoke()
    found = interpreter.get_tensor(result["index"])
    if expected.ndim == 4 and found.shape != expected.shape:
        expected = expected.transpose(0, 2, 3, 1)
    if found.shape != expected.shape:
        raise ValueError(f"its outputs are {found.shape}, not {expected.shape}")
    return float(abs(found - expected).max())


if __name__ == "__main__":
    main()
