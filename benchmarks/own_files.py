"""Some forty model files of other origin, each measured on a device, and each output beside that of the runtime's own script.

    python benchmarks/own_files.py [--device local] [--devices devices.toml] [--only lstm] [--level quick] [--folder DIR]
    python benchmarks/own_files.py --sshd    # over SSH, to an sshd of its own on loopback

PyTorch's and TensorFlow's own exporters, onnx's helpers, onnxruntime's quantizers and scikit-learn's trees make them, from seeded
weights, and onnxruntime's package has some; none is made by this project's exporters, which convert .pt2 programs alone. With
--folder what is made and measured is kept: the command goes on where it was ended.

`equal` compares the sums that all values of the outputs are judged by: to 1e-4 of the largest for floats of 32 bits and quantized
models on one machine, 1e-2 for half precision. `error` is the stored one, against the file's own run.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, option_parser

import harness
from device_agents.runtimes.loaded import (
    Output,
    array_output,
    array_outputs,
    fixed_input,
    judged_values,
)
from harness.errors import DeviceError
from space.errors import HarnessError

HALF_TOLERANCE, TOLERANCE = 1e-2, 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A model file with what is given of its inputs."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    signature: str = ""


def torch_models(folder: Path) -> Iterator[Made]:
    """Yield models that PyTorch's ONNX exporter writes."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    def save(name: str, module: nn.Module, *inputs: Any, **options: Any) -> Path:
        path = folder / f"{name}.onnx"
        if path.exists():
            return path
        names = [f"x{number}" for number in range(len(inputs))]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                inputs,
                str(path),
                input_names=names,
                dynamo=False,
                **({"opset_version": 17} | options),
            )
        return path

    def cnn(width: int = 16) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, 10),
        )

    class Last(nn.Module):
        """A recurrent layer and its last output."""

        def __init__(self, layer: nn.Module, width: int) -> None:
            super().__init__()
            self.layer, self.head = layer, nn.Linear(width, 5)

        def forward(self, x: Any) -> Any:
            return self.head(self.layer(x)[0][:, -1])

    class Block(nn.Module):
        """A transformer's block: attention of four heads, and two linear layers, each with its sum and norm."""

        def __init__(self, width: int = 64, heads: int = 4) -> None:
            super().__init__()
            self.heads, self.mixed, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
            self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

        def forward(self, x: Any) -> Any:
            q, k, v = (
                one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in self.mixed(x).chunk(3, -1)
            )
            weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
            x = self.norms[0](x + self.out((weights @ v).transpose(1, 2).flatten(2)))
            return self.norms[1](x + self.inner(x))

    class Tokens(nn.Module):
        """An encoder over token ids and a mask."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(1000, 64)
            self.encoder = Block()

        def forward(self, ids: Any, mask: Any) -> Any:
            return self.encoder(self.table(ids)) * mask.unsqueeze(-1)

    class Two(nn.Module):
        """Two inputs, two outputs."""

        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(32, 16), nn.Linear(8, 16)

        def forward(self, a: Any, b: Any) -> Any:
            joined = self.left(a) + self.right(b)
            return joined.relu(), joined.sigmoid()

    image = torch.zeros(1, 3, 64, 64)
    free = {"x0": {0: "n", 2: "h", 3: "w"}}
    block = nn.Sequential(
        nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 32, 1), nn.Hardswish(), nn.Conv2d(32, 16, 1)
    )
    layer = Block()
    yield Made(path=save("cnn", cnn(), image))
    yield Made(path=save("cnn-opset11", cnn(), image, opset_version=11))
    yield Made(path=save("cnn-free-batch", cnn(), image, dynamic_axes={"x0": {0: "n"}}))
    yield Made(path=save("cnn-free", cnn(), image, dynamic_axes=free), shapes={"x0": (2, 3, 96, 80)})
    yield Made(path=save("cnn-half", cnn().half(), image.half()))
    yield Made(path=save("depthwise", block, torch.zeros(1, 16, 32, 32)))
    yield Made(path=save("upsampling", nn.ConvTranspose2d(8, 8, 4, 2, 1), torch.zeros(1, 8, 32, 32)))
    yield Made(path=save("conv1d", nn.Conv1d(8, 16, 5), torch.zeros(1, 8, 256)))
    yield Made(path=save("conv3d", nn.Conv3d(3, 8, 3), torch.zeros(1, 3, 8, 24, 24)))
    yield Made(
        path=save("mlp", nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 4)), torch.zeros(1, 32))
    )
    double = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4)).double()
    yield Made(path=save("mlp-double", double, torch.zeros(1, 32).double()))
    yield Made(path=save("transformer", layer, torch.zeros(1, 32, 64)))
    yield Made(
        path=save("transformer-free", layer, torch.zeros(1, 32, 64), dynamic_axes={"x0": {1: "length"}}),
        shapes={"x0": (1, 50, 64)},
    )
    yield Made(path=save("lstm", Last(nn.LSTM(16, 32, batch_first=True), 32), torch.zeros(1, 20, 16)))
    both = nn.LSTM(16, 32, bidirectional=True, batch_first=True)
    yield Made(path=save("lstm-two-ways", Last(both, 64), torch.zeros(1, 20, 16)))
    yield Made(path=save("gru", Last(nn.GRU(16, 32, batch_first=True), 32), torch.zeros(1, 20, 16)))
    ids, mask = torch.full((1, 12), 900), torch.ones(1, 12)
    values = {"x0": np.arange(12, dtype=np.int64).reshape(1, 12) * 80, "x1": np.ones((1, 12), np.float32)}
    yield Made(path=save("tokens", Tokens(), ids, mask), values=values)
    yield Made(path=save("two-inputs", Two(), torch.zeros(1, 32), torch.zeros(1, 8)))
    large = save(
        "external-data",
        nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 10)),
        torch.zeros(1, 256),
    )
    yield Made(path=with_data_beside(large))
    yield from quantized(folder, save("to-quantize", cnn(), image))


def programs(folder: Path) -> Iterator[Made]:
    """Yield programs of torch.export, as torch saves them."""
    import torch
    from torch import nn

    torch.manual_seed(1)

    def save(name: str, module: nn.Module, *inputs: Any, **options: Any) -> Path:
        path = folder / f"{name}.pt2"
        if not path.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.export.save(torch.export.export(module.eval(), inputs, **options), path)
        return path

    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    cnn = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.SiLU(), *pooled)
    yield Made(path=save("program-cnn", cnn, torch.zeros(1, 3, 64, 64)))
    free = ({0: torch.export.Dim("n", min=1, max=64)},)
    yield Made(path=save("program-free-batch", cnn, torch.zeros(2, 3, 64, 64), dynamic_shapes=free))
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    yield Made(path=save("program-transformer", layer, torch.zeros(1, 32, 64)))


def shipped() -> Iterator[Made]:
    """Yield the models that onnxruntime's package has."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "datasets"
    shapes = {"logreg_iris": {"float_input": (3, 2)}}
    yield from (Made(path=path, shapes=shapes.get(path.stem, {})) for path in sorted(folder.glob("*.onnx")))


def trees(folder: Path) -> Iterator[Made]:
    """Yield scikit-learn's gradient-boosted trees as ONNX's operator of tree ensembles."""
    from onnx import TensorProto, helper, save_model
    from sklearn.ensemble import GradientBoostingRegressor

    path = folder / "sklearn-trees.onnx"
    if path.exists():
        yield Made(path=path)
        return
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 8)).astype(np.float32)
    fitted = GradientBoostingRegressor(n_estimators=40, max_depth=4, random_state=0).fit(
        x, x[:, 0] * x[:, 1] + x[:, 2]
    )
    nodes: dict[str, list[Any]] = {
        name: []
        for name in (
            *("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids"),
            *("target_treeids", "target_nodeids", "target_ids", "target_weights"),
        )
    }
    for number, one in enumerate(fitted.estimators_[:, 0]):
        tree = one.tree_
        for node in range(tree.node_count):
            is_leaf = tree.children_left[node] < 0
            mode = "LEAF" if is_leaf else "BRANCH_LEQ"
            branch = (
                (0, 0.0, 0, 0)
                if is_leaf
                else (
                    *(int(tree.feature[node]), float(tree.threshold[node])),
                    *(int(tree.children_left[node]), int(tree.children_right[node])),
                )
            )
            names = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids")
            for name, value in zip(names, (number, node, mode, *branch), strict=True):
                nodes[name].append(value)
            if is_leaf:
                weight = float(tree.value[node, 0, 0]) * fitted.learning_rate
                for name, value in zip(
                    ("treeids", "nodeids", "ids", "weights"), (number, node, 0, weight), strict=True
                ):
                    nodes[f"target_{name}"].append(value)
    fields = {
        name if name.startswith("target") else f"nodes_{name}": values for name, values in nodes.items()
    }
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **fields)
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [16, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [16, 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    yield Made(path=path)


def with_data_beside(path: Path) -> Path:
    """Move a model's weights into a file beside it."""
    import onnx

    if path.with_suffix(".data").exists():
        return path
    model = onnx.load(str(path))
    onnx.save_model(
        model, str(path), save_as_external_data=True, location=f"{path.stem}.data", size_threshold=1024
    )
    return path


def quantized(folder: Path, source: Path) -> Iterator[Made]:
    """Yield what onnxruntime's quantizers make of a model: QDQ, operators on integers, and weights quantized in the run."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]
        """Random images."""

        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self._left = iter(
                [{"x0": rng.uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)} for _ in range(4)]
            )

        def get_next(self) -> Any:
            """Return the next one, None after the last."""
            return next(self._left, None)

    for name, model_format in (("qdq", QuantFormat.QDQ), ("qoperator", QuantFormat.QOperator)):
        path = folder / f"cnn-{name}.onnx"
        if not path.exists():
            quantize_static(str(source), str(path), Images(), quant_format=model_format, per_channel=True)
        yield Made(path=path)
    path = folder / "mlp-dynamic.onnx"
    if not path.exists():
        quantize_dynamic(str(folder / "mlp.onnx"), str(path))
    yield Made(path=path)


def helper_models(folder: Path) -> Iterator[Made]:
    """Yield models that onnx's helpers make: a loop, an output of free size, truth values, integers."""
    from onnx import TensorProto, helper, save_model

    def save(name: str, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> Path:
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(*one) for one in inputs],
            [helper.make_tensor_value_info(*one) for one in outputs],
        )
        opsets = [helper.make_opsetid("", 17)]
        path = folder / f"{name}.onnx"
        if not path.exists():
            save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
        return path

    number, truth = TensorProto.FLOAT, TensorProto.BOOL
    yield Made(
        path=save(
            "output-of-free-size",
            [helper.make_node("NonZero", ["x"], ["y"])],
            [("x", number, [4, 64])],
            [("y", TensorProto.INT64, [2, "n"])],
        )
    )
    yield Made(
        path=save(
            "truth-values",
            [helper.make_node("Not", ["x"], ["y"])],
            [("x", truth, [8, 1024])],
            [("y", truth, [8, 1024])],
        )
    )
    yield Made(
        path=save(
            "integers",
            [helper.make_node("Mul", ["x", "x"], ["y"])],
            [("x", TensorProto.INT32, [64, 64])],
            [("y", TensorProto.INT32, [64, 64])],
        )
    )


def tflite_models(folder: Path) -> Iterator[Made]:
    """Yield models that TensorFlow's converter writes."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers

    def save(name: str, model: Any, set_up: Callable[[Any], None] = lambda converter: None) -> Path:
        path = folder / f"{name}.tflite"
        if path.exists():
            return path
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        set_up(converter)
        path.write_bytes(converter.convert())
        return path

    image = layers.Input((64, 64, 3), batch_size=1)
    value = layers.Conv2D(32, 3, 2, activation="relu")(layers.Conv2D(16, 3, 2, activation="relu")(image))
    cnn = tf.keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(value)))

    def images() -> Iterator[list[Any]]:
        rng = np.random.default_rng(0)
        for _ in range(4):
            yield [rng.uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)]

    def half(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    def dynamic(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    def integer(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = images
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8

    yield Made(path=save("keras-cnn", cnn))
    yield Made(path=save("keras-cnn-half", cnn, half))
    yield Made(path=save("keras-cnn-dynamic", cnn, dynamic))
    yield Made(path=save("keras-cnn-int8", cnn, integer))
    free = layers.Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(free))
    yield Made(path=save("keras-free-batch", tf.keras.Model(free, pooled)))
    left, right = layers.Input((16,), batch_size=1), layers.Input((8,), batch_size=1)
    joined = layers.Dense(4)(layers.Concatenate()([left, right]))
    yield Made(path=save("keras-two-inputs", tf.keras.Model([left, right], joined)))
    sequence = layers.Input((12, 8), batch_size=1)
    yield Made(path=save("keras-lstm", tf.keras.Model(sequence, layers.LSTM(16)(sequence))))
    ids = layers.Input((12,), batch_size=1, dtype="int32")
    embedded = layers.Dense(4)(layers.GlobalAveragePooling1D()(layers.Embedding(200, 16)(ids)))
    yield Made(path=save("keras-tokens", tf.keras.Model(ids, embedded)))
    path = folder / "two-signatures.tflite"
    if not path.exists():
        path.write_bytes(two_signatures(tf))
    yield from (Made(path=path, signature=name) for name in ("halve", "mix"))


def two_signatures(tf: Any) -> bytes:
    """Return a model of two functions, each with a signature."""

    class Functions(tf.Module):  # type: ignore[misc]
        """Two functions of a matrix."""

        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.constant(np.random.default_rng(0).standard_normal((64, 64)), tf.float32)

        @tf.function(autograph=False, input_signature=[tf.TensorSpec((32, 64), tf.float32)])  # type: ignore[untyped-decorator]
        def halve(self, x: Any) -> Any:
            """Return half of it."""
            return {"y": x * 0.5}

        @tf.function(autograph=False, input_signature=[tf.TensorSpec((32, 64), tf.float32)])  # type: ignore[untyped-decorator]
        def mix(self, x: Any) -> Any:
            """Return it times the weights."""
            return {"y": tf.nn.relu(x @ self.weights)}

    functions = Functions()
    with tempfile.TemporaryDirectory() as folder:
        signatures = dict(zip(("halve", "mix"), (functions.halve, functions.mix), strict=True))
        tf.saved_model.save(functions, folder, signatures=signatures)
        return bytes(
            tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["halve", "mix"]).convert()
        )


def own_sums(made: Made) -> list[float]:
    """Return what a file's outputs are judged by, as the runtime's own script has them."""
    run = {".onnx": onnx_outputs, ".tflite": tflite_outputs, ".pt2": torch_outputs}[made.path.suffix]
    return judged_values(run(made))


def torch_outputs(made: Made) -> list[Output]:
    """Return the outputs of a program, by torch."""
    import torch

    program = torch.export.load(str(made.path))
    examples = program.example_inputs[0]
    is_free = "free" in made.path.name
    shapes = [(1, *one.shape[1:]) if is_free else tuple(one.shape) for one in examples]
    given = [torch.from_numpy(fixed_input(shape, "float32", "NCHW")) for shape in shapes]
    with torch.no_grad():
        return array_outputs([program.module()(*given).numpy()])


def onnx_outputs(made: Made) -> list[Output]:
    """Return the outputs of an ONNX model by onnxruntime's script."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    names = {"float": "float32", "float16": "float16", "double": "float64"}
    inputs = {}
    for node in session.get_inputs():
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        shape = made.shapes.get(node.name) or [size if isinstance(size, int) else 1 for size in node.shape]
        fixed = fixed_input(shape, names.get(kind, kind), "NCHW")
        inputs[node.name] = made.values.get(node.name, fixed)
    tensors = [node.name for node in session.get_outputs() if node.type.startswith("tensor(")]
    return array_outputs(session.run(tensors, inputs))


def tflite_outputs(made: Made) -> list[Output]:
    """Return the outputs of a TFLite model, in the order of their names, by the interpreter's script."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(made.path), num_threads=1)
    if made.signature:
        runner = interpreter.get_signature_runner(made.signature)
        given = {
            name: fixed_input(
                [int(size) for size in told["shape"]], told["dtype"], "NHWC", *told["quantization"]
            )
            for name, told in runner.get_input_details().items()
        }
        return array_outputs([runner(**given)["y"]])
    interpreter.allocate_tensors()
    for told in interpreter.get_input_details():
        array = fixed_input(
            [int(size) for size in told["shape"]], told["dtype"], "NHWC", *told["quantization"]
        )
        interpreter.set_tensor(told["index"], array)
    interpreter.invoke()
    return [
        array_output(interpreter.get_tensor(told["index"]), *told["quantization"])
        for told in sorted(interpreter.get_output_details(), key=lambda told: told["name"])
    ]


def main() -> None:
    """Make the files, measure them, and print a row each."""
    parser = option_parser(__doc__)
    parser.add_argument("--device", default="local")
    parser.add_argument("--devices", type=Path)
    parser.add_argument("--only", default="", help="measure the files alone whose names hold this text")
    parser.add_argument(
        "--sshd", action="store_true", help="measure over SSH, on an sshd of its own on loopback"
    )
    parser.add_argument("--level", default="quick")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as temporary, chosen_device(options, Path(temporary)) as device:
        folder = options.folder or Path(temporary) / "files"
        folder.mkdir(exist_ok=True)
        every = (
            one
            for make in (helper_models, trees, torch_models, programs, tflite_models)
            for one in make(folder)
        )
        with harness.open_store(str(folder / "store.sqlite")) as store:
            right = [
                is_right(one, device, store, options)
                for one in chain(shipped(), every)
                if options.only in one.path.name
            ]
        wrong = right.count(False)
        print(f"{len(right)} files, {wrong} failed or with another output")
        raise SystemExit(1 if wrong else 0)


@contextmanager
def chosen_device(options: argparse.Namespace, folder: Path) -> Iterator[Any]:
    """Yield the device of the options, on a server that ends with the block where one was asked for."""
    if not options.sshd:
        yield options.device
        return
    from rigs.sshd import start_sshd

    with start_sshd(folder / "sshd") as server:
        yield server.device("loopback")


def is_right(made: Made, device: Any, store: Any, options: argparse.Namespace) -> bool:
    """Measure a file, print its row, and return whether its output is the script's."""
    values = None
    if made.values:
        values = made.path.with_suffix(".npz")
        np.savez(values, **made.values)
    name = f"{made.path.name} {made.signature}".strip()
    try:
        table = harness.measure(
            device,
            made.path,
            store=store,
            level=options.level,
            shapes=made.shapes,
            inputs=values,
            signature=made.signature,
            devices_file=options.devices,
        )
    except (HarnessError, DeviceError) as error:
        print(f"{name:28} {error}", flush=True)
        return False
    if not table:
        print(f"{name:28} {table.failures[0].message}", flush=True)
        return False
    row = table[0]
    session = store.sessions(row.configuration, [row.graph_hash])[-1]
    expected, precision = np.array(own_sums(made)), row.configuration.precision
    tolerance = HALF_TOLERANCE if precision == "fp16" else TOLERANCE
    found = np.array(session.output)
    is_equal = found.shape == expected.shape and bool(
        np.abs(found - expected).max(initial=0) <= tolerance * max(1e-6, np.abs(expected).max(initial=0))
    )
    interval = "" if row.interval_ms is None else f"{row.interval_ms[0]:.4f} .. {row.interval_ms[1]:.4f}"
    judged = "not judged" if row.output_error is None else f"error {row.output_error:.0e}"
    print(
        f"{name:28} {precision:13} {row.latency_ms:9.4f} ms  {interval:22} {row.grade}  "
        f"ratio {row.estimate.ratio:8.4f}  {judged:12} "
        f"{'equal' if is_equal else f'NOT EQUAL: {found} and {expected}'}",
        flush=True,
    )
    return is_equal


if __name__ == "__main__":
    main()
