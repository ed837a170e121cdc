"""Linking models from fragments, against converting whole networks: time, bytes to send, latency of the result.

    python benchmarks/export.py [--networks 200] [--whole 4] [--format onnx] [--precision int8] [--folder FOLDER]

All figures are of one run on one machine. Whole networks are converted by torch.onnx.export (TorchScript, opset 17) and by
TFLiteConverter (from a graph with constant weights, its fastest way in); imports, building the network
and the first conversion of a process, which warms the converter up, are not counted. Latency is measured in the
same runtime with one thread, the two models of a pair taking turns; the ratio is that of their fastest runs. An int8 model is
converted whole with the activations' scales of the linked one, as otherwise its outputs could not be compared. FOLDER keeps
fragments, whole models and how long they took: a run that was cut off goes on there, and a second one, which has to convert
nothing, times the models on a machine that has become quiet.
"""

from __future__ import annotations

import gc
import math
import os
import random
import shutil
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from machine import describe_machine, option_parser
from rigs.whole_networks import ConvertedNetwork, convert_networks
from timing import seconds_of

from exporters import FORMATS, PRECISIONS, Format, FragmentLibrary, Precision
from space import BLOX, Architecture

WARM_OPENS = 5
LATENCY_ROUNDS = 150  # for each order of opening
BATCH = 10  # whole conversions at a time
LARGEST = Architecture.parse("/".join(["bconv-bconv+in+out"] * BLOX.stages))

Row = tuple[str, str, str, str]  # what, figure, peer's figure and name, ratio or target


def main() -> None:
    """Measure both formats and print one table."""
    parser = option_parser(__doc__)
    parser.add_argument("--networks", type=int, default=200, help="random networks for recipes and bytes")
    parser.add_argument("--whole", type=int, default=4, help="networks that are converted whole as well")
    parser.add_argument("--format", choices=FORMATS, action="append", dest="formats")
    parser.add_argument("--precision", choices=PRECISIONS, action="append", dest="precisions")
    parser.add_argument("--folder", type=Path, help="keeps what is exported and converted, and its times")
    arguments = parser.parse_args()
    indices = random.Random(0).sample(range(len(BLOX)), arguments.networks)
    networks = [Architecture.from_index(index) for index in indices]
    print(describe_machine())
    print(f"{'what':46} {'ours':>14} {'peer':>34} {'ratio or target':>18}")
    for format, precision in product(arguments.formats or FORMATS, arguments.precisions or ["fp32"]):
        with tempfile.TemporaryDirectory() as scratch:
            folder = (arguments.folder or Path(scratch)) / f"{format}-{precision}"
            for row in measure(format, precision, folder, networks, arguments.whole):
                print(f"{row[0]:46} {row[1]:>14} {row[2]:>34} {row[3]:>18}", flush=True)


def measure(
    format: Format, precision: Precision, folder: Path, networks: Sequence[Architecture], whole: int
) -> list[Row]:
    """Measure one format and precision with an empty cache, or what a folder has of it; return the rows of its table."""

    def open_library() -> FragmentLibrary:
        return FragmentLibrary.open(format, cache_dir=folder / "fragments", precision=precision)

    cold_s = cold_seconds(open_library, folder)
    warm_s = statistics.median(seconds_of(open_library) for _ in range(WARM_OPENS))
    library = open_library()

    recipe_s = statistics.median(seconds_of(lambda a=a: library.assembly(a)) for a in networks)  # type: ignore[misc]
    link_s = statistics.median(
        seconds_of(lambda a=a: library.assembly(a).whole())  # type: ignore[misc]
        for a in networks
    )
    converted = convert_whole(networks[:whole], format, precision, folder)
    peer_s = statistics.median(c.elapsed_s for c in converted)
    peer = "torch.onnx.export" if format == "onnx" else "TFLiteConverter"

    sent = [sent_bytes(library, a) for a in (*networks, LARGEST)]
    weights_mb = sum(len(library.part(digest)) for digest in library.part_digests) / 1e6
    linked = (library.assembly(a).whole() for a in networks)
    ratios = [latency_ratio(format, ours, c.model) for ours, c in zip(linked, converted, strict=False)]
    equal = sum(is_equal(library, a, c) for a, c in zip(networks, converted, strict=False))
    title = format if precision == "fp32" else f"{format} {precision}"
    most_mb, most_bytes = (
        (30, " <= 2048 B") if precision == "fp32" else (8 if precision == "int8" else 15, "")
    )
    return [
        (f"{title}: library, cold cache", f"{cold_s:.1f} s", "", "<= 180 s for both"),
        (f"{title}: library, warm cache", f"{warm_s:.2f} s", "", "<= 2 s"),
        (
            f"{title}: recipe",
            f"{recipe_s * 1e3:.3f} ms",
            f"{peer_s * 1e3:.0f} ms {peer}",
            f"{peer_s / recipe_s:,.0f} x",
        ),
        (
            f"{title}: recipe and linked model",
            f"{link_s * 1e3:.3f} ms",
            f"{peer_s * 1e3:.0f} ms {peer}",
            f"{peer_s / link_s:,.0f} x",
        ),
        (f"{title}: weights of the space, sent once", f"{weights_mb:.1f} MB", "", f"<= {most_mb} MB"),
        (f"{title}: sent for a network, mean", f"{statistics.mean(sent[:-1]):.0f} B", "", most_bytes.strip()),
        (f"{title}: sent for a network, maximum", f"{max(sent)} B", "", most_bytes.strip()),
        (
            f"{title}: latency, linked / whole",
            f"{statistics.median(ratios):.3f}",
            f"from {min(ratios):.3f} to {max(ratios):.3f}",
            f"{len(ratios)} pairs, load {os.getloadavg()[0]:.1f}",
        ),
        (f"{title}: outputs equal to the whole", f"{equal}", "", f"of {len(converted)}"),
    ]


def cold_seconds(open_library: Callable[[], object], folder: Path) -> float:
    """Return how long it takes to export a library, as the folder has it or else from an empty cache."""
    known = folder / "cold_s"
    if not known.exists():
        shutil.rmtree(folder / "fragments", ignore_errors=True)  # of a run that was cut off
        folder.mkdir(parents=True, exist_ok=True)
        known.write_text(repr(seconds_of(open_library)))
    return float(known.read_text())


def convert_whole(
    networks: Sequence[Architecture], format: Format, precision: Precision, folder: Path
) -> list[ConvertedNetwork]:
    """Convert whole networks that the folder does not have; each batch converts its first one twice, to warm up."""
    places = {network: folder / f"whole-{network.index}" for network in networks}
    missing = [network for network, place in places.items() if not place.exists()]
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        made = convert_networks([batch[0], *batch], format, precision=precision)[1:]
        for network, one in zip(batch, made, strict=True):
            places[network].with_suffix(".seconds").write_text(repr(one.elapsed_s))
            places[network].write_bytes(one.model)
    return [
        ConvertedNetwork(model=place.read_bytes(), elapsed_s=float(place.with_suffix(".seconds").read_text()))
        for place in places.values()
    ]


def sent_bytes(library: FragmentLibrary, architecture: Architecture) -> int:
    """Count a network's skeleton, compressed as it is sent, and its part digests in hexadecimal."""
    recipe = library.assembly(architecture)
    dictionary = b"" if recipe.dictionary is None else library.part(recipe.dictionary)[-(32 << 10) :]
    compressor = zlib.compressobj(9, zdict=dictionary) if dictionary else zlib.compressobj(9)
    return len(compressor.compress(recipe.skeleton) + compressor.flush()) + sum(map(len, recipe.parts))


def is_equal(library: FragmentLibrary, architecture: Architecture, whole: ConvertedNetwork) -> bool:
    """Return whether linked and whole model write the same bytes."""
    load = load_onnx if library.format == "onnx" else load_tflite
    ours, theirs = (load(one)() for one in (library.assembly(architecture).whole(), whole.model))
    return np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def latency_ratio(format: Format, ours: bytes, theirs: bytes) -> float:
    """Return one model's fastest run over another's, the two taking turns in new sessions.

    Each is the first to be opened once: the first of two sessions takes some 0.3 % longer even where both run one model.
    """
    load = load_onnx if format == "onnx" else load_tflite
    return math.sqrt(opened_ratio(load, ours, theirs) / opened_ratio(load, theirs, ours))


def opened_ratio(load: Callable[[bytes], Callable[[], object]], first: bytes, second: bytes) -> float:
    """Return the fastest run of the model that is opened first over that of the second."""
    runs = load(first), load(second)
    fastest_ns = [1 << 62, 1 << 62]
    gc.disable()
    for k in range(LATENCY_ROUNDS):
        for which in (k % 2, 1 - k % 2):
            start_ns = time.perf_counter_ns()
            runs[which]()
            fastest_ns[which] = min(fastest_ns[which], time.perf_counter_ns() - start_ns)
    gc.enable()
    return fastest_ns[0] / fastest_ns[1]


def load_onnx(model: bytes) -> Callable[[], object]:
    """Return a function that runs an ONNX model once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    image = np.random.default_rng(0).normal(size=feed.shape).astype(np.float32)
    return lambda: session.run(None, {feed.name: image})


def load_tflite(model: bytes) -> Callable[[], object]:
    """Return a function that runs a TFLite model once."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    feed = interpreter.get_input_details()[0]
    image = np.random.default_rng(0).normal(size=tuple(feed["shape"]))
    scale, zero_point = feed["quantization"]
    scaled = np.clip(image / scale + zero_point, -128, 127) if scale else image
    interpreter.set_tensor(feed["index"], scaled.astype(feed["dtype"]))
    output = interpreter.get_output_details()[0]["index"]

    def run() -> object:
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return run


if __name__ == "__main__":
    main()
