"""Candidates of a user's space to TFLite: this program's converter beside kept ones, by operators, outputs, latency, time.

    python -m venv peer && peer/bin/pip install litert-torch torch==VERSION      # with the torch that is installed here
    python -m venv onnx && onnx/bin/pip install onnx2tf
    python benchmarks/tflite_converters.py --litert-torch peer/bin/python --onnx2tf onnx/bin/python [--folder FOLDER]

The candidates are those of tests/factories/candidates.py. Each converter works in one process of its own environment; its first
conversion is done twice and counted once. litert-torch is asked for ends with channels last; onnx2tf reads the ONNX file that
torch.onnx writes. "moves" counts TRANSPOSE operators, "error" is the largest difference to torch on random inputs, "time" the
peer's latency over ours, one thread of LiteRT, the two models taking turns. FOLDER keeps what was converted, and a second run
goes on there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # peers' environments do not hold this package

Convert = Callable[[str, Path], bytes]  # from a candidate's name and the place of its files without an ending


def main() -> None:
    """Convert all candidates by each converter and print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
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
            command = [python, __file__, "--convert", name, "--folder", str(place)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print_table(folder, [*asked])
        print(f"convnext and mobilenet v3, linked from parts / converted whole: {linked_ratio(folder):.3f}")


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
            model, problem = b"", f"{type(error).__name__}: {error}".splitlines()[0][:100]
        elapsed_s = time.perf_counter() - started
        place.with_suffix(".tflite").write_bytes(model)
        place.with_suffix(".json").write_text(json.dumps({"problem": problem, "elapsed_s": elapsed_s}))


def file_of(folder: Path, name: str) -> Path:
    """Return where a candidate's files lie, without an ending."""
    return folder / name.replace("/", "_").replace(" ", "-")


def convert_ours(name: str, place: Path) -> bytes:
    """Convert by this program."""
    from factories.candidates import candidate

    from exporters.tflite_conversion import convert_module

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
    """Write the candidates' ONNX files."""
    import torch
    from factories.candidates import CANDIDATES, candidate

    for name in CANDIDATES:
        path = file_of(folder, name).with_suffix(".onnx")
        if not path.exists():
            module, shape = candidate(name)
            torch.onnx.export(module, (torch.zeros(shape),), str(path), opset_version=17, dynamo=False)


CONVERTERS: dict[str, Convert] = {
    "ours": convert_ours,
    "litert-torch": convert_litert_torch,
    "onnx2tf": convert_onnx2tf,
}


def print_table(folder: Path, names: Sequence[str]) -> None:
    """Print a row for each candidate and converter."""
    from export import latency_ratio
    from factories.candidates import CANDIDATES, operator_counts
    from machine import describe_machine

    print(describe_machine())
    print(f"{'candidate':22}{'converter':14}{'s':>5}{'ops':>5}{'moves':>6}{'error':>9}{'time':>8}")
    for candidate_name in CANDIDATES:
        ours = file_of(folder / "ours", candidate_name).with_suffix(".tflite").read_bytes()
        for name in names:
            place = file_of(folder / name, candidate_name)
            note = json.loads(place.with_suffix(".json").read_text())
            model = place.with_suffix(".tflite").read_bytes()
            start = f"{candidate_name:22}{name:14}{note['elapsed_s']:5.1f}"
            if note["problem"]:
                print(f"{start}  {note['problem']}", flush=True)
                continue
            found = operator_counts(model)
            ratio = 1.0 if name == "ours" else latency_ratio("tflite", model, ours)
            worst = error(candidate_name, model)
            print(f"{start}{found.total():5}{found['TRANSPOSE']:6}{worst:9.0e}{ratio:8.3f}", flush=True)


def linked_ratio(folder: Path) -> float:
    """Return the latency of a network linked from parts over that of the same one converted whole."""
    import pytest
    from export import latency_ratio
    from factories.candidates import ConvNeXt, mobilenet_v3
    from rigs.fragment_libraries import library_of_ops

    from exporters import link
    from exporters.networks import torch_network
    from exporters.tflite_export import export_network
    from exporters.weights import Weights
    from space import Architecture
    from space.networks import OPS

    ops = {"convnext": ConvNeXt, "mobile": mobilenet_v3}
    library = library_of_ops(ops, folder / "linked", size=32)
    architecture = Architecture.parse("convnext-mobile+in+out", library.config)
    with pytest.MonkeyPatch.context() as patch:
        for name, build in ops.items():
            patch.setitem(OPS, name, build)
        network = torch_network(architecture, Weights.seeded(0))
    whole = export_network(network, library.config, "fp32", None)
    return latency_ratio("tflite", link(library.recipe(architecture), library.part), whole)


def error(name: str, model: bytes) -> float:
    """Return the largest difference between a model's output and torch's, in whatever order of axes it has."""
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
    found = found.transpose(0, 3, 1, 2) if found.ndim == 4 else found
    return float(abs(found - expected).max())


if __name__ == "__main__":
    main()
